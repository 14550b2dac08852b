r"""Training images a second, one thread, at the same input and batch, from files to the step of the optimiser.

    python benchmarks/peers/training_speed.py --data DIR --output DIR --sizes 192 640 \
        --contestants yolo11n:batch=8,nbs=8 yolo26n:batch=8,nbs=8 sia_pose_simple:SIZE=n32,BS=8

Each contestant trains for a while as in an arena, and is measured after a warm-up; the weights are thrown away. They
take turns, so that a busy machine harms all alike, and the first one is what the others are compared with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.arena import environment, usable_processors
from benchmarks.peers.contestants import Entry, checked, parse_entry, pinned
from benchmarks.peers.layout import prepare
from sia.errors import exit_status


@dataclass
class Measured:
    """One contestant at one size.

    Attributes:
        entry: the contestant.
        side: of the square input, pixels.
        speeds: images a second, one of each round.
    """

    entry: Entry
    side: int
    speeds: list[float] = field(default_factory=list)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help="images to train on: images/, train.json, val.json")
    parser.add_argument("--contestants", nargs="+", required=True, type=parse_entry, metavar="NAME[:KEY=VALUE,...]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 320, 640], help="input sides in pixels")
    parser.add_argument("--rounds", type=int, default=2, help="turns of every contestant (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="about how long a turn measures, 45 at most (default: 20)"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of table.md and of what the turns write")
    return parser.parse_args(argv)


def measure_once(one: Measured, args: argparse.Namespace) -> None:
    """One turn, in a process of its own."""
    folder = args.output / f"{one.entry.folder}-{one.side}"
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--options", *one.entry.options) if one.entry.options else ()
    command = one.entry.command(
        "speed", "--data", args.output / "data", "--side", one.side, "--minutes", args.seconds / 6, "--output", folder,
        *options,
    )  # fmt: skip
    checked(pinned(command, usable_processors()[0]), args.output / "log.txt", environment(folder))
    one.speeds.append(json.loads((folder / "speed.json").read_text()))


def table(measured: Sequence[Measured]) -> str:
    """Markdown: medians over the rounds, and each beside the first contestant at its size."""
    lines = ["| input | contestant | images/s | beside the first |", "|-:|-|-:|-:|"]
    first: dict[int, float] = {}
    for one in measured:
        speed = statistics.median(one.speeds)
        ratio = speed / first.setdefault(one.side, speed)
        lines.append(f"| {one.side} | {one.entry.label} | {speed:.1f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> None:
    """Measures in turns, and prints the table after every round.

    Raises:
        SiaError: a contestant can't be run.
    """
    args.output.mkdir(parents=True, exist_ok=True)
    prepare(args.data, args.output / "data")
    measured = [Measured(entry, side) for side in args.sizes for entry in args.contestants]
    for number in range(args.rounds):
        for one in measured:
            measure_once(one, args)
        text = table(measured)
        (args.output / "table.md").write_text(text)
        print(f"{text}round {number + 1} of {args.rounds}\n", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
