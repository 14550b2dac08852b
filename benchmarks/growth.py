"""How the cost of a training step grows: python benchmarks/growth.py --size n16.

People an image, detection tokens, input size and batch, one at a time, the others as in the first line of the table.
Settings of one kind take turns, step by step. CPU milliseconds of a step without loading, and the bytes that it keeps
for the gradient.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.memory import count
from benchmarks.train_step import PARTS, WARM_UP, Training, make_batch, make_training
from sia.batch import PoseBatch
from sia.registry import list_models
from sia.runtimes.device import multiplies_bf16
from utils.memory import keep_freed_memory


@dataclass(frozen=True)
class Setting:
    """One line of the table: people an image, tokens, side of the input in pixels, images a step."""

    people: int = 4
    tokens: int = 100
    side: int = 192
    batch: int = 8


VALUES = {
    "people": (1, 2, 4, 8, 16, 32),
    "tokens": (25, 50, 100, 144),
    "side": (96, 128, 192, 256, 384, 512),
    "batch": (2, 4, 8, 16),
}


def build(setting: Setting, mode: str, model: str, size: str, seed: int) -> tuple[Training, PoseBatch]:
    """A training of this setting, and its batch."""
    imgsz = (setting.side, setting.side)
    training = make_training(mode, model, size, imgsz, seed)
    training.model.tokens.tokens = setting.tokens  # no weight depends on it
    return training, make_batch(setting.batch, imgsz, setting.people, seed)


def measure(settings: Sequence[Setting], args: argparse.Namespace) -> list[tuple[float, int]]:
    """Milliseconds and bytes of each, in turns."""
    built = [build(setting, args.mode, args.model, args.size, args.seed) for setting in settings]
    for _ in range(WARM_UP + args.steps):
        for training, batch in built:
            training.step(batch)
    dtype = torch.float32 if args.mode == "fp32" else torch.bfloat16
    return [(sum(map(t.milliseconds, PARTS)), count(t.model, batch, dtype).activations) for t, batch in built]


def report(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """A table: each kind with all its values, and how much dearer each is than the first of its kind."""
    say("| | | ms a step | times | MB kept | times |\n|-|--:|--:|--:|--:|--:|")
    for kind, values in VALUES.items():
        found = measure([replace(Setting(), **{kind: value}) for value in values], args)
        first = found[0]
        for value, (milliseconds, kept) in zip(values, found, strict=True):
            say(
                f"| {kind} | {value} | {milliseconds:.0f} | {milliseconds / first[0]:.2f} "
                f"| {kept / 1e6:.0f} | {kept / first[1]:.2f} |"
            )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="sia_pose_simple", choices=list_models(), help="variant (default: %(default)s)")
    add("--size", default="n16", help="size (default: %(default)s)")
    fastest = "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32"
    add("--mode", default=fastest, choices=("fp32", "bf16"), help="arithmetic (default: the faster here, %(default)s)")
    add("--steps", type=int, default=6, help="steps of each (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights and people (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    report(args, lambda line: print(line, flush=True))
    print(
        f"\n{args.model} {args.size}, {args.mode}, one thread; where nothing else is said: {Setting()}; "
        f"{platform.machine()}, torch {torch.__version__}, seed {args.seed}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
