"""Trains what `sia lift` uses: python scripts/train_lifting.py --output lift.safetensors.

Learns from synthetic motion, or from motion capture of yours: .npz files with `joints` (T, 17, 3) in Human3.6M's order,
metres, y up, and `rate`, frames a second. Cameras are random, and the 2D poses get the noise of a detector.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.commands.values import positive
from sia.errors import ConfigError, exit_status
from sia.io.output_file import check_new


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(description="Trains the network of sia lift, and measures it on motion that it has not seen.")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--motions", type=int, default=1500, help="synthetic ones of 4 s; 5 %% are held out (default: 1500)"
    )
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="motion capture to learn from, beside these")
    parser.add_argument("--test", type=Path, nargs="+", default=[], help="motion capture to measure on only")
    parser.add_argument("--steps", type=positive, default=2000, help="of training (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more (default: 0)")
    parser.add_argument("--workers", type=positive, default=2, help="processes that make motions (default: 2)")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    """The whole job; imported after the flags are checked, so that a wrong one is answered at once."""
    check_new(args.output)
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed} must be 0 or more.")
    from stages import lifting

    lifting.run(args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status."""
    return exit_status(lambda: run(parse_args(arguments)), stopped="Stopped. Nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
