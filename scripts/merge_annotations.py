"""Joins COCO keypoint files of one skeleton into one, for images in several folders.

python scripts/merge_annotations.py --img_root data --output data/all.json \
    --ann_file data/a/train.json data/b/train.json --img_dir data/a/images data/b/images

Train on the result with -COCO_ROOT data -TRAIN_ANN data/all.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco.image_name import problem_of_name
from sia.coco.annotation_file import AnnotationFile
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import read_json, write_annotations
from sia.commands.parser import Parser
from sia.errors import ConfigError, DataError, exit_status
from sia.io.input_file import check_input_file, check_input_folder
from sia.io.output_file import check_new

Row = dict[str, Any]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Joins COCO keypoint files of one skeleton into one.",
    )
    add = parser.add_argument
    add("--ann_file", type=Path, nargs="+", required=True, metavar="FILE", help="annotation files, two or more")
    add("--img_dir", type=Path, nargs="+", required=True, metavar="DIR", help="the folder of each file's images")
    add("--img_root", type=Path, required=True, metavar="DIR", help="a folder above all of them: the new -COCO_ROOT")
    add("--output", type=Path, required=True, metavar="FILE", help="json file to write; must not exist")
    add(
        "--complete_only", action="store_true",
        help="leave out images marked \"complete\": false, where people may be unlabelled",
    )  # fmt: skip
    return parser.parse_args(argv)


class Merged:
    """COCO content that grows file by file; ids are given anew.

    Attributes:
        content: what to write.
        left_out: images that were not complete.
    """

    def __init__(self, root: Path, complete_only: bool) -> None:
        self.content: Row = {"images": [], "annotations": [], "categories": []}
        self.left_out = 0
        self._root, self._complete_only = root.resolve(), complete_only
        self._first: Path | None = None
        self._known_files: set[str] = set()

    def add(self, file: Path, folder: Path) -> None:
        """Appends a file whose images lie in a folder below the root.

        Raises:
            DataError: it has faults, or another skeleton than the first.
            ConfigError: the folder is not below the root.
        """
        parsed = parse(read_json(file, "annotation file"))
        parsed.refuse_faults(str(file), ("nobody",))
        self._check_skeleton(file, parsed)
        self._append(parsed, self._prefix(folder), file)

    def _append(self, parsed: AnnotationFile, prefix: Path, file: Path) -> None:
        images, categories = self._images(parsed.content["images"], prefix, file), frozenset(parsed.merged)
        for row in parsed.content["annotations"]:
            if row["category_id"] in categories and row["image_id"] in images:
                own = {
                    "id": len(self.content["annotations"]) + 1,
                    "image_id": images[row["image_id"]],
                    "category_id": 1,
                }
                self.content["annotations"].append({**row, **own})

    def _check_skeleton(self, file: Path, parsed: AnnotationFile) -> None:
        skeleton = parsed.skeleton
        assert skeleton is not None
        if self._first is None:
            category = next(row for row in parsed.content["categories"] if row["id"] == parsed.merged[0])
            self.content["categories"] = [{**category, "id": 1}]
            self._first, self._skeleton = file, skeleton
        elif (skeleton, skeleton.mirrors) != (self._skeleton, self._skeleton.mirrors):
            raise DataError(
                f"{file} has other keypoints (names, lines, pairs or sigmas) than {self._first}. Join files of one "
                "skeleton only."
            )

    def _prefix(self, folder: Path) -> Path:
        resolved = folder.resolve()
        if not resolved.is_relative_to(self._root):
            raise ConfigError(f"--img_dir {folder} is not below --img_root {self._root}. Name a folder above all.")
        return resolved.relative_to(self._root)

    def _images(self, rows: Sequence[Row], prefix: Path, file: Path) -> dict[int, int]:
        ids: dict[int, int] = {}
        for row in rows:
            if self._complete_only and row.get("complete") is False:
                self.left_out += 1
                continue
            ids[row["id"]] = len(self.content["images"]) + 1
            problem = problem_of_name(row["file_name"])
            if problem is not None:
                raise DataError(f"{file}: the image {row['file_name']!r}{problem}")
            name = (prefix / row["file_name"]).as_posix()
            if name in self._known_files:
                raise DataError(f"{file}: the image {name} was in a file before it. Its people belong into one file.")
            self._known_files.add(name)
            self.content["images"].append({**row, "id": ids[row["id"]], "file_name": name})
        return ids


def merge(args: argparse.Namespace) -> Merged:
    """What the flags ask for.

    Raises:
        SiaError: flags or files that can't be used.
    """
    check_new(args.output)
    if len(args.ann_file) != len(args.img_dir):
        raise ConfigError(f"{len(args.ann_file)} --ann_file but {len(args.img_dir)} --img_dir: name one folder a file.")
    for file, folder in zip(args.ann_file, args.img_dir, strict=True):
        check_input_file(file, "Check --ann_file.")
        check_input_folder(folder, "Check --img_dir.")
    merged = Merged(args.img_root, args.complete_only)
    for file, folder in zip(args.ann_file, args.img_dir, strict=True):
        merged.add(file, folder)
    if not merged.content["images"]:
        raise DataError("No image is left: --complete_only left them all out.")
    return merged


def run(args: argparse.Namespace) -> None:
    """The whole job."""
    merged = merge(args)
    write_annotations(args.output, merged.content)
    images, people = len(merged.content["images"]), len(merged.content["annotations"])
    print(f"{images} images ({merged.left_out} left out as incomplete), {people} annotations. Written: {args.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
