"""`sia evaluate` and scripts/evaluate.py: their flags, and what can be checked before anything heavy is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from sia.commands.parser import add_max_pixels, add_pytorch_flags, add_size_flags
from sia.errors import ConfigError, DataError
from sia.io.bundled_weights import find_weights, readable_weights
from sia.io.input_file import check_input_file, check_input_folder, set_pixel_limit
from sia.io.optional import need_extra
from sia.io.output_file import refuse_file
from sia.runtimes.device import wait_passively


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    what = parser.add_argument_group("what to evaluate (one of the two)").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--weight_path", metavar="FILE",
        help="best.pt or last.pt of a run, an export, the name of bundled weights such as n16, or hf:owner/name",
    )  # fmt: skip
    what.add_argument("--results", type=Path, metavar="FILE", help="COCO keypoint results (json) of any program")
    parser.add_argument(
        "--compare", metavar="FILE", help="results (json), or with --weight_path also weights: how much "
        "better or worse they are, with the 95 %% interval over resampled images",
    )  # fmt: skip
    data = parser.add_argument_group("data")
    data.add_argument("--ann_file", type=Path, required=True, metavar="FILE", help="COCO keypoint annotations (json)")
    data.add_argument(
        "--coco_root", type=Path, metavar="DIR",
        help="folder of the images: needed with --weight_path; with --results the page shows crops of them",
    )  # fmt: skip
    data.add_argument(
        "--crowdpose", action="store_true",
        help="CrowdPose's protocol: its 14 sigmas, areas from boxes, AP of easy, medium and hard images",
    )  # fmt: skip
    model = parser.add_argument_group("with --weight_path")
    model.add_argument("--batch_size", type=int, default=16, metavar="N", help="images at once (default: 16)")
    model.add_argument("--workers", type=int, default=2, metavar="N", help="threads that read images (default: 2)")
    model.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: auto)")
    add_size_flags(model)
    add_max_pixels(model)
    add_pytorch_flags(model)
    parser.add_argument(
        "--samples", type=int, default=120, metavar="N", help="people that report.html shows (default: 120)"
    )
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR",
        help="folder of report.html, metrics.json, keypoints.csv and results.json; never overwritten (default: "
        "runs/evaluate-N)",
    )  # fmt: skip


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done; weights by name become files.

    Raises:
        ConfigError: flags that can't work together.
        SiaError: a file or folder that can't be read.
    """
    if args.weight_path is not None and args.coco_root is None:
        raise ConfigError("--weight_path needs --coco_root, the folder of the images.")
    of_results = args.compare is not None and Path(args.compare).suffix.lower() == ".json"
    if args.results is not None and args.compare is not None and not of_results:
        raise ConfigError("--compare takes weights beside --weight_path only; name the results with --compare instead.")
    if args.samples < 0:
        raise ConfigError(f"--samples must be at least 0, but is {args.samples}.")
    if args.output_dir is not None:
        refuse_file(args.output_dir)
    if args.weight_path is not None:
        args.weight_path = readable_weights(args.weight_path)
    if args.compare is not None:
        args.compare = Path(args.compare) if of_results else find_weights(args.compare)
        check_input_file(args.compare, "Check --compare.", DataError)
    if args.results is not None:
        check_input_file(args.results, "Check --results.", DataError)
    check_input_file(args.ann_file, "Check --ann_file.")
    if args.coco_root is not None:
        check_input_folder(args.coco_root, "Check --coco_root.")


def run(args: argparse.Namespace) -> int:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    set_pixel_limit(args.max_pixels)
    check_args(args)
    need_extra("eval", "sia evaluate")
    wait_passively()
    from sia.commands.jobs import evaluate_job

    return evaluate_job.run(args)
