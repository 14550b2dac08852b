"""COCO keypoint AP and AR, and a table per keypoint, of weights or of any COCO results file.

python scripts/evaluate.py --weight_path runs/.../weights/best.pt --coco_root images --ann_file val.json
torchrun --nproc_per_node=4 scripts/evaluate.py --weight_path ... --coco_root ... --ann_file ...
python scripts/evaluate.py --results results.json --ann_file val.json
python scripts/evaluate.py --results before.json --compare after.json --ann_file val.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.commands.values import fraction, input_size
from sia.errors import ConfigError, DataError, WeightsError, exit_status
from sia.io.bundled_weights import find_weights
from sia.io.input_file import add_max_pixels, check_input_file, check_input_folder, set_pixel_limit
from sia.runtimes.threads import wait_passively


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="COCO keypoint AP and AR, and a table per keypoint, of weights or of any COCO results file.",
    )
    what = parser.add_argument_group("what to evaluate (one of the two)").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--weight_path", type=Path, metavar="FILE",
        help="weights: best.pt or last.pt of a run, an export, the name of bundled weights, or hf:owner/name",
    )  # fmt: skip
    what.add_argument("--results", type=Path, metavar="FILE", help="COCO keypoint results (json) of any program")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="results (json), or with --weight_path also weights: how much "
        "better or worse they are, with the 95 %% interval over resampled images",
    )  # fmt: skip
    data = parser.add_argument_group("data")
    data.add_argument("--ann_file", type=Path, required=True, metavar="FILE", help="COCO keypoint annotations (json)")
    data.add_argument("--coco_root", type=Path, metavar="DIR", help="folder of the images; needed with --weight_path")
    model = parser.add_argument_group("with --weight_path")
    model.add_argument("--batch_size", type=int, default=16, metavar="N", help="images at once (default: 16)")
    model.add_argument("--workers", type=int, default=2, metavar="N", help="processes that load images (default: 2)")
    model.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: auto)")
    model.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW", help="input size in pixels (default: that of the weights)"
    )
    add_max_pixels(model)
    model.add_argument(
        "--roi_score_thresh", type=fraction, metavar="0-1",
        help="first score from which on people get a RoI refinement (default: 0.1, or what an export was made with)",
    )  # fmt: skip
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="folder of metrics.json, keypoints.csv and results.json; never overwritten (default: runs/evaluate-N)",
    )
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: flags that can't work together.
        SiaError: a file or folder that can't be read.
    """
    if args.weight_path is not None and args.coco_root is None:
        raise ConfigError("--weight_path needs --coco_root, the folder of the images.")
    args.weight_path = args.weight_path and find_weights(args.weight_path)
    if args.results is not None and args.compare is not None and args.compare.suffix.lower() != ".json":
        raise ConfigError("--compare takes weights beside --weight_path only; name the results with --compare instead.")
    for flag, error in (("weight_path", WeightsError), ("results", DataError), ("compare", DataError)):
        if getattr(args, flag) is not None:
            check_input_file(getattr(args, flag), f"Check --{flag}.", error)
    check_input_file(args.ann_file, "Check --ann_file.")
    if args.coco_root is not None:
        check_input_folder(args.coco_root, "Check --coco_root.")


def run(args: argparse.Namespace) -> int:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    set_pixel_limit(args.max_pixels)
    check_args(args)
    wait_passively()
    from stages.evaluation import evaluation as evaluation_job

    return evaluation_job.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
