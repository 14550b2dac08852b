"""`sia export` and scripts/export.py: their flags, and what can be checked before torch is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from sia.commands.parser import add_size_flags
from sia.errors import ConfigError
from sia.io.bundled_weights import readable_weights
from sia.io.output_file import check_new

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "openvino-int8": "-int8.xml"}


def add_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds them; returns the group of those for the check."""
    parser.epilog = (
        "The file takes any number of images of any size, has the decoding inside, and is used as it is: "
        "--weight_path best.onnx. A backbone with DINOv3's positions, or an --imgsz of a patch or two, gives a file of "
        "one input size, which is said."
    )
    what = parser.add_argument_group("what to export")
    what.add_argument(
        "--weight_path", required=True, metavar="FILE",
        help="best.pt or last.pt of a run, the name of bundled weights such as sia_pose-n16, or hf:owner/name",
    )  # fmt: skip
    what.add_argument("--format", choices=list(ENDINGS), required=True, help="int8 is for the CPU only")
    what.add_argument(
        "--output_path", type=Path, metavar="FILE",
        help="file to write, .onnx or .xml (with a .bin beside it); never overwritten (default: beside the weights; "
        "in the current folder for those named without a path)",
    )  # fmt: skip
    add_size_flags(what)
    check = parser.add_argument_group("check, and calibration of int8")
    check.add_argument(
        "--image_path", metavar="PATH",
        help="images, a folder or a glob in quotes; for int8 such as the model will meet, best those it was trained "
        "on (default: bundled images of synthetic people)",
    )  # fmt: skip
    return check


def check_args(args: argparse.Namespace) -> list[Path]:
    """What can be known before any work is done.

    Returns:
        All files that belong to the export; the one that is opened comes last.

    Raises:
        ConfigError: flags that can't work together, or something is there already.
        SiaError: a file that can't be read.
    """
    given, args.weight_path = args.weight_path, readable_weights(args.weight_path)
    folder = args.weight_path.parent if Path(given) == args.weight_path else Path()
    path: Path = args.output_path or folder / (args.weight_path.stem + ENDINGS[args.format])
    suffix = ".onnx" if args.format == "onnx" else ".xml"
    if path.suffix != suffix:
        raise ConfigError(f"--output_path {path} must end in {suffix} for --format {args.format}.")
    files = [path] if suffix == ".onnx" else [path.with_suffix(".bin"), path]
    for file in files:
        check_new(file, "--output_path", makes_folder=True)
    return files


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once.

    Raises:
        SiaError: bad input, or an export that differs from PyTorch; then nothing is written.
    """
    files = check_args(args)
    from sia.commands.jobs import export_job

    export_job.run(args, files)
