"""Milliseconds a picture in PyTorch, ONNX Runtime and OpenVINO, from the picture to its people.

python benchmarks/latency.py --weight_path best.pt --exports best.onnx best.xml best-int8.xml --image_path pictures/

One picture at a time; letterbox, network and decoding are all in it, reading the file is not. The runtimes take turns,
each picture in another order, so that a busy moment of the machine hits them alike; what is shown is the median.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.models import machine
from stages.predictor import Predictor
from stages.runtime import TorchRuntime
from utils.device import multiplies_bf16
from utils.errors import exit_status
from utils.images import find_images, read_image


class Entry(NamedTuple):
    """What is timed: a file as the commands run it, or weights in float32 where they would multiply bfloat16."""

    path: Path
    exact: bool = False

    @property
    def label(self) -> str:
        """Its name in the table."""
        return f"`{self.path.name}`" + (" in float32" if self.exact else "")

    def load(self, side: int) -> Predictor:
        """The model for square inputs."""
        runtime = (
            TorchRuntime.load(self.path, "cpu", exact=True) if self.exact else Predictor.load(self.path, "cpu").runtime
        )
        return Predictor(runtime, (side, side))


Pictures = list[NDArray[np.uint8]]
Times = dict[tuple[Entry, int], float]


def measure(entries: Sequence[Entry], side: int, pictures: Pictures, runs: int) -> dict[Entry, float]:
    """Median milliseconds of each entry."""
    predictors = {entry: entry.load(side) for entry in entries}
    times: dict[Entry, list[float]] = {entry: [] for entry in entries}
    shuffle = random.Random(0)
    for number, picture in enumerate(itertools.islice(itertools.cycle(pictures), runs + 3)):
        for entry in shuffle.sample(list(entries), len(entries)):
            begin = time.perf_counter()
            predictors[entry].predict([picture])
            if number >= 3:  # the first turns warm up
                times[entry].append(1000 * (time.perf_counter() - begin))
    return {entry: statistics.median(values) for entry, values in times.items()}


def peak_memory(entry: Entry, side: int) -> float:
    """Most MiB that a process of its own holds; the interpreter and its libraries are most of it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (entry, side))


def _peak_memory(entry: Entry, side: int) -> float:
    torch.set_num_threads(1)
    entry.load(side).predict([np.zeros((side, side, 3), np.uint8)])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1024**2 if sys.platform == "darwin" else 1024)


def table(
    entries: Sequence[Entry], sides: Sequence[int], threads: int, times: Times, memory: dict[Entry, float]
) -> str:
    """Markdown: a row an entry, a column a side, with the ratio to the first entry."""
    head = [f"{threads} thread{'s' if threads > 1 else ''}", *(f"{side} px, ms" for side in sides)]
    lines = [[*head, f"peak MiB at {max(sides)} px"], ["---", *["--:"] * (len(sides) + 1)]]
    for entry in entries:
        cells = [f"{times[entry, side]:.1f} ({times[entries[0], side] / times[entry, side]:.2f}x)" for side in sides]
        lines.append([entry.label, *cells, f"{memory[entry]:.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", type=Path, required=True, help="the .pt file; the others are compared with it")
    parser.add_argument("--exports", type=Path, nargs="+", default=[], help="exports of it (.onnx, .xml)")
    parser.add_argument("--image_path", required=True, help="a picture, a folder or a glob in quotes; the first 20")
    parser.add_argument("--sides", type=int, nargs="+", default=[192, 256, 320, 640], help="sides of the square input")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--runs", type=int, default=30, help="runs of each (default: 30)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Prints a table for each number of threads."""
    entries = [Entry(path) for path in (args.weight_path, *args.exports)]
    if multiplies_bf16(torch.device("cpu")):
        entries.insert(0, Entry(args.weight_path, exact=True))
    pictures = [read_image(path) for path in find_images(args.image_path)[:20]]
    memory = {entry: peak_memory(entry, max(args.sides)) for entry in entries}
    for threads in args.threads:
        torch.set_num_threads(threads)
        times: Times = {}
        for side in args.sides:
            print(f"{threads} threads at {side} px ...", file=sys.stderr)
            medians = measure(entries, side, pictures, args.runs)
            times.update({(entry, side): value for entry, value in medians.items()})
        print(machine(0), "", table(entries, args.sides, threads, times, memory), "", sep="\n", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
