"""Writes trained weights as ONNX or OpenVINO, checks them against PyTorch, and measures their speed.

python scripts/export.py --weight_path runs/NAME/weights/best.pt --format onnx --image_path images/
python scripts/export.py --weight_path runs/NAME/weights/best.pt --format openvino-int8 --image_path images/train
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.commands.signals import sigterm_like_ctrl_c
from sia.commands.values import fraction, input_size
from sia.errors import ConfigError, OutputError, WeightsError, exit_status
from sia.io.input_file import check_input_file, check_input_folder

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "openvino-int8": "-int8.xml"}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Writes trained weights as ONNX or OpenVINO, and checks the file against PyTorch on images.",
        epilog="The file takes any number of images of any size, has the decoding inside, and is used as it is: "
        "--weight_path best.onnx. A backbone with DINOv3's positions, or an --imgsz of a patch or two, gives a file of "
        "one input size, which is said.",
    )
    what = parser.add_argument_group("what to export")
    what.add_argument("--weight_path", type=Path, required=True, metavar="FILE", help="best.pt or last.pt of a run")
    what.add_argument("--format", choices=list(ENDINGS), required=True, help="int8 is for the CPU only")
    what.add_argument(
        "--output_path", type=Path, metavar="FILE",
        help="file to write, .onnx or .xml (with a .bin beside it); never overwritten (default: beside the weights)",
    )  # fmt: skip
    what.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW", help="input size in pixels (default: that of the weights)"
    )
    what.add_argument(
        "--roi_score_thresh", type=fraction, metavar="0-1",
        help="people whose first score is lower get no RoI refinement, except for the best of each image: higher is "
        "faster and finds fewer (default: 0.1)",
    )  # fmt: skip
    check = parser.add_argument_group("check, and calibration of int8")
    check.add_argument(
        "--image_path", metavar="PATH",
        help="images, a folder or a glob in quotes; for int8 such as the model will meet, best those it was trained "
        "on (default: those of --ann_file, else synthetic people)",
    )  # fmt: skip
    check.add_argument("--ann_file", type=Path, metavar="FILE", help="COCO keypoint annotations (json): AP of both")
    check.add_argument("--coco_root", type=Path, metavar="DIR", help="folder of the images of --ann_file")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> list[Path]:
    """What can be known before any work is done.

    Returns:
        All files that belong to the export; the one that is opened comes last.

    Raises:
        ConfigError: flags that can't work together.
        OutputError: something is there already.
        SiaError: a file or folder that can't be read.
    """
    if (args.ann_file is None) != (args.coco_root is None):
        raise ConfigError("--ann_file and --coco_root go together: the annotations and the folder of their images.")
    check_input_file(args.weight_path, "Check --weight_path.", WeightsError)
    if args.ann_file is not None:
        check_input_file(args.ann_file, "Check --ann_file.")
        check_input_folder(args.coco_root, "Check --coco_root.")
    path: Path = args.output_path or args.weight_path.with_name(args.weight_path.stem + ENDINGS[args.format])
    suffix = ".onnx" if args.format == "onnx" else ".xml"
    if path.suffix != suffix:
        raise ConfigError(f"--output_path {path} must end in {suffix} for --format {args.format}.")
    files = [path] if suffix == ".onnx" else [path.with_suffix(".bin"), path]
    for file in files:
        if os.path.lexists(file):
            raise OutputError(f"{file} exists and is not overwritten. Name another --output_path, or remove it.")
    return files


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    files = check_args(args)
    from stages.evaluation import export as export_job

    export_job.run(args, files)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    with sigterm_like_ctrl_c():
        sys.exit(main())
