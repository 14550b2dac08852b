"""Trains the RoI keypoint head of a model alone, quickly: on crops that are cut and encoded once.

python scripts/train_roi_head.py --weight_path sia_pose_simple-n16 --trunk tf_efficientnet_lite0:lite0.pth \
    --roi_size 128 --data COCO/images:train.json --val COCO/images:val.json --crops crops --output head.pt

The model finds the people of all images and says with its tokens who is meant. Its RoI keypoint head is changed, with
its refiner if it has one; with --trunk, what tells visibility and sigma is left out. Stopped, the same command goes on;
the crops are made once. Then train_pose.py --RESUME trains all together.
"""

from __future__ import annotations

import argparse
import math
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
    parser = Parser(description="Trains the RoI keypoint head of a model alone, on crops that are encoded once.")
    add = parser.add_argument
    add("--weight_path", type=Path, required=True, metavar="FILE", help="the model, best.pt or a bundled file")
    add(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".pt file to write, with the new head; must not exist",
    )
    add("--crops", type=Path, required=True, metavar="DIR", help="where the crops are kept, about 0.2 MB a person")
    add(
        "--data", required=True, nargs="+", metavar="ROOT:ANN[:PX]",
        help="images and their COCO annotations, and the input size at which people are found (default: the model's)",
    )  # fmt: skip
    add("--val", required=True, metavar="ROOT:ANN[:PX]", help="images to measure on")
    add(
        "--trunk", metavar="NAME[:FILE]",
        help="a new head around this network of timm, with weights from the file or by download (default: go on with "
        "the head of the model)",
    )  # fmt: skip
    add(
        "--head", type=Path, metavar="FILE",
        help="start from the RoI keypoint head of this file, also of another variant: what fits is taken over",
    )  # fmt: skip
    add(
        "--model", metavar="NAME",
        help="train that of another variant, whose other parts the weights have: sia_pose is sia_pose_simple with a "
        "refiner, which starts as one that changes nothing",
    )  # fmt: skip
    add("--refiner_only", action="store_true", help="of sia_pose: the rest of the head stays as it is")
    add("--roi_size", type=input_size, metavar="SIZE", help="of a crop in pixels, N or HxW (default: the model's)")
    add("--epochs", type=float, default=16.0, help="passes over the people (default: %(default)s)")
    add("--batch", type=int, default=64, help="crops a step (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="peak rate of AdamW; the network's is half of it (default: %(default)s)")
    add("--every", type=int, default=500, help="steps between two measurements and saves (default: %(default)s)")
    add(
        "--compile",
        action="store_true",
        help="compile the head (torch.compile; needs a C++ compiler): the first step "
        "takes minutes, the others little more than half the time",
    )
    add("--seed", type=int, default=0, help="0 or more (default: 0)")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: an output that is there, or a value that makes no sense.
        WeightsError: no such weights.
    """
    if args.output.suffix != ".pt":
        raise ConfigError(f"--output {args.output}: weights are .pt files. Name it so.")
    check_new(args.output)
    positive = all(math.isfinite(value) and value > 0 for value in (args.epochs, args.lr, args.every))
    if not positive or args.batch < 2 or args.seed < 0:
        raise ConfigError("--epochs, --lr and --every must be positive numbers, --batch at least 2, --seed 0 or more.")
    if args.crops.exists() and not args.crops.is_dir():
        raise ConfigError(f"--crops {args.crops} is no folder. Name one, or a new one.")
    if args.head is not None and args.trunk is not None:
        raise ConfigError("--head and --trunk: a new network starts with no other head. Leave one of them out.")
    args.weight_path = readable_weights(args.weight_path)
    args.head = None if args.head is None else readable_weights(args.head)


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after the flags are checked, so that a wrong one is answered at once."""
    check_args(args)
    from stages.roi_head import job

    job.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
