"""Makes a small file of weights to pass on: half precision, without the state of the training.

python scripts/pack_weights.py --weight_path runs/NAME/weights/best.pt --output mine.safetensors
python scripts/pack_weights.py --weight_path sia_pose-n32 --model sia_pose_simple --output simple.safetensors
python scripts/pack_weights.py --weight_path runs/NAME/weights/best.pt --imgsz 448 --output larger.pt
python scripts/pack_weights.py --weight_path sia_pose-n16 --size n32 --imgsz 512 --output faster.pt
python scripts/pack_weights.py --weight_path runs/FIRST/weights/best.pt runs/MORE/weights/best.pt --output mean.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.commands.values import input_size
from sia.errors import ConfigError, exit_status
from sia.io.bundled_weights import readable_weights
from sia.io.output_file import check_new


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Makes a small file of weights to pass on: half precision, nothing of the training.",
    )
    parser.add_argument(
        "--weight_path", type=Path, nargs="+", required=True, metavar="FILE",
        help="best.pt or last.pt of a run, or hf:owner/name; of several, one of which went on from the other, the "
        "mean is taken",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".safetensors or .pt file to write; must not exist"
    )
    parser.add_argument(
        "--model", metavar="NAME",
        help="another variant, of which the file has every weight: sia_pose is sia_pose_simple and a refiner",
    )  # fmt: skip
    parser.add_argument(
        "--size", metavar="NAME",
        help="another size with the same weights: n32 is n16 behind an input reduced by two, and the other way round",
    )  # fmt: skip
    parser.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW",
        help="input size in pixels that inference is to take by default (default: that of the weights)",
    )  # fmt: skip
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: an output of another suffix, or is there already.
        WeightsError: a file that can't be read.
    """
    if args.output.suffix not in (".safetensors", ".pt"):
        raise ConfigError(f"--output {args.output}: weights are .safetensors or .pt files. Name it so.")
    check_new(args.output)
    args.weight_path = [readable_weights(file) for file in args.weight_path]


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    check_args(args)
    from utils import packing

    packing.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
