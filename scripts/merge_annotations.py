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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.coco.annotation_file import Row
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import read_json, write_annotations
from sia.coco.image_name import locate_files
from sia.commands.parser import Parser
from sia.errors import ConfigError, DataError, exit_status
from sia.io.input_file import check_input_file, check_input_folder
from sia.io.output_file import check_new
from sia.skeletons.skeleton import Skeleton


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(description="Joins COCO keypoint files of one skeleton into one.")
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
        self._first: tuple[Path, Skeleton] | None = None
        self._known_files: set[str] = set()

    def add(self, file: Path, folder: Path) -> None:
        """Appends a file whose images lie in a folder below the root.

        Raises:
            DataError: it has faults, images that are missing, or another skeleton than the first.
            ConfigError: the folder is not below the root.
        """
        parsed = parse(read_json(file, "annotation file"))
        parsed.refuse_faults(str(file), ("nobody",))
        assert parsed.skeleton is not None  # or there was a fault
        parsed.skeleton.refuse_several(f"merge_annotations.py with {file}")
        if self._first is None:
            self._first = file, parsed.skeleton
            self.content["categories"] = [{**parsed.category(), "id": 1}]
        first, skeleton = self._first
        if (parsed.skeleton, parsed.skeleton.mirrors) != (skeleton, skeleton.mirrors):
            raise DataError(
                f"{file} has other keypoints (names, lines, pairs or sigmas) than {first}. Join files of one "
                "skeleton only."
            )
        if not folder.resolve().is_relative_to(self._root):
            raise ConfigError(f"--img_dir {folder} is not below --img_root {self._root}. Name a folder above all.")
        images = self._add_images(parsed.content["images"], folder.resolve(), file)
        people = self.content["annotations"]
        for row in parsed.content["annotations"]:
            if row["category_id"] in parsed.merged and row["image_id"] in images:
                people.append({**row, "id": len(people) + 1, "image_id": images[row["image_id"]], "category_id": 1})

    def _add_images(self, rows: Sequence[Row], folder: Path, file: Path) -> dict[int, int]:
        """The new ids by the old ones; images are looked for as a training does."""
        ids: dict[int, int] = {}
        kept = [row for row in rows if not (self._complete_only and row.get("complete") is False)]
        self.left_out += len(rows) - len(kept)
        located = locate_files(folder, [row["file_name"] for row in kept], [row["id"] for row in kept], file)
        for row, path in zip(kept, located.paths, strict=True):
            assert path is not None  # or it would have been missing
            name = (folder / path).relative_to(self._root).as_posix()
            if name in self._known_files:
                raise DataError(f"{file}: the image {name} was in a file before it. Its people belong into one file.")
            self._known_files.add(name)
            ids[row["id"]] = len(self.content["images"]) + 1
            self.content["images"].append({**row, "id": ids[row["id"]], "file_name": name})
        return ids


def run(args: argparse.Namespace) -> None:
    """The whole job.

    Raises:
        SiaError: flags or files that can't be used.
    """
    check_new(args.output)
    if len(args.ann_file) != len(args.img_dir):
        raise ConfigError(f"{len(args.ann_file)} --ann_file but {len(args.img_dir)} --img_dir: name one folder a file.")
    pairs = list(zip(args.ann_file, args.img_dir, strict=True))
    for file, folder in pairs:
        check_input_file(file, "Check --ann_file.")
        check_input_folder(folder, "Check --img_dir.")
    merged = Merged(args.img_root, args.complete_only)
    for file, folder in pairs:
        merged.add(file, folder)
    images, people = len(merged.content["images"]), len(merged.content["annotations"])
    if not images:
        raise DataError("No image is left: --complete_only left them all out.")
    write_annotations(args.output, merged.content)
    print(f"{images} images ({merged.left_out} left out as incomplete), {people} annotations. Written: {args.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
