"""Makes a data set of synthetic people: python scripts/make_synthetic.py --output data/synthetic --train 2000."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.errors import exit_status


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(description="Draws synthetic people with exact COCO keypoints: no download, no GPU.")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; reused where complete")
    parser.add_argument("--train", type=int, default=2000, help="training images (default: 2000)")
    parser.add_argument("--val", type=int, default=200, help="validation images (default: 200)")
    parser.add_argument("--size", type=int, default=192, help="side of the images in pixels (default: 192)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more; same seed, same images (default: 0)")
    parser.add_argument(
        "--close", action="store_true", help="only one to three people, each at least a third of the image's side"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; 0 draws in this one (default: 0)")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    """Draws, and says where the images are; imported after the flags are read, as drawing loads OpenCV."""
    from datasets.synthetic import write_dataset

    with tqdm(total=args.train + args.val, desc="synthetic people", unit="img", disable=None) as bar:
        numbers = (args.train, args.val, args.size, args.seed, args.workers)
        made = write_dataset(args.output, *numbers, lambda n: bar.update(n) and None, args.close)
        bar.leave = made
    print(f"{'Made' if made else 'Found'} {args.train} + {args.val} images in {args.output.resolve()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status."""
    args = parse_args(arguments)
    return exit_status(lambda: run(args), stopped=f"Stopped. The same command finishes {args.output}.")


if __name__ == "__main__":
    sys.exit(main())
