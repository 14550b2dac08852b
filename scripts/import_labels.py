"""Makes COCO keypoint json of the labels of other programs.

python scripts/import_labels.py --format cvat    --input annotations.xml --output data/train.json
python scripts/import_labels.py --format labelstudio --input export.json --output data/train.json
python scripts/import_labels.py --format labelme --input labelled_images --output data/train.json
python scripts/import_labels.py --format yolo    --input data.yaml --img_dir images/train --output data/train.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.coco.coco_files import write_annotations
from sia.commands.parser import Parser
from sia.errors import ConfigError, exit_status
from sia.io.input_file import check_input_file, check_input_folder
from sia.io.output_file import check_new


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(description="Makes COCO keypoint json of labels from CVAT, Label Studio, LabelMe or YOLO-pose.")
    add = parser.add_argument
    formats = ("cvat", "labelme", "labelstudio", "yolo")
    add("--format", choices=formats, required=True, help="the program that the labels are from")
    add(
        "--input", type=Path, required=True, metavar="PATH",
        help="cvat: annotations.xml; labelstudio: the json of an export; labelme: folder of the json files; "
        "yolo: data.yaml",
    )  # fmt: skip
    add("--output", type=Path, required=True, metavar="FILE", help="json file to write; must not exist")
    add(
        "--img_dir",
        type=Path,
        metavar="DIR",
        help="folder of the images (yolo; labelme: default is "
        "that of the json; labelstudio: for images without people)",
    )
    add("--label_dir", type=Path, metavar="DIR", help="yolo: folder of the text files (default: labels for images)")
    add("--category", type=Path, metavar="FILE", help="json with the category, or COCO file, whose keypoints are meant")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Combinations that argparse doesn't know.

    Raises:
        ConfigError: flags that can't work together, or an output that is there already.
        DataError: a file or folder that can't be read.
    """
    check_new(args.output)
    if args.format == "yolo" and args.img_dir is None:
        reason = "labels are fractions of their sizes"
        raise ConfigError(f"--format yolo needs --img_dir, the folder of the images: {reason}.")
    if args.format == "cvat" and args.img_dir is not None:
        raise ConfigError("--img_dir is not for --format cvat: the file has names and sizes.")
    if args.format != "yolo" and args.label_dir is not None:
        raise ConfigError("--label_dir is for --format yolo only.")
    check_input = check_input_folder if args.format == "labelme" else check_input_file
    check_input(args.input, "Check --input.")
    for flag in ("img_dir", "label_dir"):
        if getattr(args, flag) is not None:
            check_input_folder(getattr(args, flag), f"Check --{flag}.")
    if args.category is not None:
        check_input_file(args.category, "Check --category.")


def run(args: argparse.Namespace) -> None:
    """The whole job."""
    check_args(args)
    from datasets import converters  # now, as they load OpenCV and Pillow
    from datasets.converters.coco_writer import read_category

    wanted = None if args.category is None else read_category(args.category)
    if args.format == "cvat":
        writer = converters.import_cvat(args.input, wanted)
    elif args.format == "labelme":
        writer = converters.import_labelme(args.input, args.img_dir, wanted)
    elif args.format == "labelstudio":
        writer = converters.import_label_studio(args.input, args.img_dir, wanted)
    else:
        writer = converters.import_yolo(args.input, args.img_dir, args.label_dir, wanted)
    write_annotations(args.output, writer.content())
    print(f"{args.output.resolve()}: {writer.describe()}")
    print("Check it: python scripts/validate_annotations.py --img_dir IMAGES --ann_file", args.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
