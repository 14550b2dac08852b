"""Writes trained weights as ONNX or OpenVINO, checks them against PyTorch, and measures their speed.

python scripts/export.py --weight_path runs/NAME/weights/best.pt --format onnx --image_path images/
python scripts/export.py --weight_path runs/NAME/weights/best.pt --format openvino-int8 --image_path images/train
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.export import add_flags, check_args
from sia.commands.parser import Parser
from sia.commands.signals import sigterm_like_ctrl_c
from sia.errors import ConfigError, exit_status
from sia.io.input_file import check_input_file, check_input_folder


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Writes trained weights as ONNX or OpenVINO, and checks the file against PyTorch on images. It "
        "is `sia export`, which needs no clone, with AP on annotations.",
    )
    check = add_flags(parser)
    check.add_argument("--ann_file", type=Path, metavar="FILE", help="COCO keypoint annotations (json): AP of both")
    check.add_argument("--coco_root", type=Path, metavar="DIR", help="folder of the images of --ann_file")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    if (args.ann_file is None) != (args.coco_root is None):
        raise ConfigError("--ann_file and --coco_root go together: the annotations and the folder of their images.")
    files = check_args(args)
    if args.ann_file is not None:
        check_input_file(args.ann_file, "Check --ann_file.")
        check_input_folder(args.coco_root, "Check --coco_root.")
    from sia.commands.jobs import export_job

    export_job.run(args, files, None if args.ann_file is None else export_job.Labelled(args.coco_root, args.ann_file))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    with sigterm_like_ctrl_c():
        sys.exit(main())
