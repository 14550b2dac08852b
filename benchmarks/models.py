"""Parameters, FLOPs and CPU time of every variant and size: python benchmarks/models.py > table.md.

One multiply-add counts as 2 FLOPs. Attention is counted; interpolation, sampling and pointwise functions are not.
One person gets keypoints from the RoI keypoint head; everyone else who is likely there adds the same again. Times are
CPU milliseconds of this process for one image at a time, so other programs disturb them less than a clock's.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import MODELS, SIZES, launch, machine, medians, table, take_turns

if TYPE_CHECKING:
    from sia.model import PoseModel


class Cost(NamedTuple):
    """Parameters and FLOPs of a model, and its median CPU milliseconds an image: NaN where nothing was timed."""

    parameters: int
    flops: int
    milliseconds: float = float("nan")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--sizes", nargs="+", choices=[*SIZES, "test"], default=SIZES, help="sizes (default: all)")
    add("--sides", nargs="+", type=int, default=[256, 640], help="input sides in pixels (default: 256 640)")
    add("--runs", type=int, default=9, help="runs of each model, 0 to count only (default: 9)")
    add("--threads", type=int, default=1, help="threads (default: 1)")


def build(name: str, size: str, side: int) -> PoseModel:
    """A model with random weights that places keypoints of one person, ready for inference."""
    from benchmarks.workload import make_model

    model = make_model(name, size, (side, side)).eval().requires_grad_(False)
    model.head_config = replace(model.head_config, people=1)
    return model


def count(name: str, size: str, side: int) -> Cost:
    """Parameters and FLOPs, without computing anything: the shapes alone tell."""
    import torch
    from torch.fx.experimental import _config as tracing

    from benchmarks.workload import count_flops

    everyone = tracing.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with torch.device("meta"), everyone, torch.inference_mode():
        model = build(name, size, side)
        image = torch.empty(1, 3, side, side, dtype=torch.uint8)
        flops = count_flops(lambda: model(image))
    return Cost(sum(p.numel() for p in model.parameters()), flops)


def timer(name: str, size: str, side: int) -> Callable[[], float]:
    """A function that runs the model once and returns its CPU milliseconds."""
    import torch

    model, image = build(name, size, side), torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)

    @torch.inference_mode()
    def once() -> float:
        begin = time.process_time()
        model(image)
        return 1000 * (time.process_time() - begin)

    return once


def measure(size: str, side: int, args: argparse.Namespace) -> dict[str, Cost]:
    """All variants, which take turns."""
    costs = {name: count(name, size, side) for name in MODELS}
    if args.runs == 0:
        return costs
    times = medians(take_turns({name: timer(name, size, side) for name in MODELS}, args.runs, 1))
    return {name: cost._replace(milliseconds=times[name]) for name, cost in costs.items()}


def run(args: argparse.Namespace) -> None:
    """Prints the table."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    for size, side in itertools.product(args.sizes, args.sides):
        print(f"{size} at {side} px ...", file=sys.stderr)
        costs = measure(size, side, args)
        for name, cost in costs.items():
            relative = cost.milliseconds / costs[MODELS[0]].milliseconds
            counts = (f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}")
            rows.append([size, f"`{name}`", str(side), *counts, f"{cost.milliseconds:.1f}", f"{relative:.2f}"])
    head = ["size", "variant", "side", "parameters (M)", "GFLOPs", "CPU ms", "ms / simple"]
    about = machine(f"{args.threads} used", "float32", "batch of 1", "seed 0")
    print(f"{about}\n\n{table(head, rows)}")


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
