"""Milliseconds an image in PyTorch, ONNX Runtime and OpenVINO, from the image to its people.

python benchmarks/latency.py --weight_path best.pt --exports best.onnx best.xml best-int8.xml --image_path images/

One image at a time; letterbox, network and decoding are all in it, reading the file is not. The runtimes take turns,
each image in another order, so that a busy moment of the machine hits them alike; what is shown is the median.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.models import machine, peak_memory
from sia.errors import exit_status
from sia.io.image_folder import find_images
from sia.io.images import read_image
from sia.runtimes.predictor import Predictor

Images = list[NDArray[np.uint8]]
Times = dict[tuple[Path, int], float]


def load(path: Path, side: int) -> Predictor:
    """A model for square inputs."""
    return Predictor.load(path, "cpu", (side, side))


def measure(files: Sequence[Path], side: int, images: Images, runs: int) -> dict[Path, float]:
    """Median milliseconds of each file."""
    predictors = {path: load(path, side) for path in files}
    times: dict[Path, list[float]] = {path: [] for path in files}
    shuffle = random.Random(0)
    for number, image in enumerate(itertools.islice(itertools.cycle(images), runs + 3)):
        for path in shuffle.sample(list(files), len(files)):
            begin = time.perf_counter()
            predictors[path].predict([image])
            if number >= 3:  # the first turns warm up
                times[path].append(1000 * (time.perf_counter() - begin))
    return {path: statistics.median(values) for path, values in times.items()}


def memory_of(path: Path, side: int) -> float:
    """Most MiB that a process of its own holds; the interpreter and its libraries are most of it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # unlike a Pool, it hears of a kill
        return pool.submit(_memory_of, path, side).result()


def _memory_of(path: Path, side: int) -> float:
    torch.set_num_threads(1)
    load(path, side).predict([np.zeros((side, side, 3), np.uint8)])
    return peak_memory() / 2**20


def table(files: Sequence[Path], sides: Sequence[int], threads: int, times: Times, memory: dict[Path, float]) -> str:
    """Markdown: a row a file, a column a side, with the ratio to the first file."""
    head = [f"{threads} thread{'s' if threads > 1 else ''}", *(f"{side} px, ms" for side in sides)]
    lines = [[*head, f"peak MiB at {max(sides)} px"], ["---", *["--:"] * (len(sides) + 1)]]
    for path in files:
        cells = [f"{times[path, side]:.1f} ({times[files[0], side] / times[path, side]:.2f}x)" for side in sides]
        lines.append([f"`{path.name}`", *cells, f"{memory[path]:.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", type=Path, required=True, help="the .pt file; the others are compared with it")
    parser.add_argument("--exports", type=Path, nargs="+", default=[], help="exports of it (.onnx, .xml)")
    parser.add_argument("--image_path", required=True, help="an image, a folder or a glob in quotes; the first 20")
    parser.add_argument("--sides", type=int, nargs="+", default=[192, 256, 320, 640], help="sides of the square input")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--runs", type=int, default=30, help="runs of each (default: 30)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Prints a table for each number of threads."""
    files = [args.weight_path, *args.exports]
    images = [read_image(path) for path in find_images(args.image_path)[:20]]
    memory = {path: memory_of(path, max(args.sides)) for path in files}
    for threads in args.threads:
        torch.set_num_threads(threads)
        times: Times = {}
        for side in args.sides:
            print(f"{threads} threads at {side} px ...", file=sys.stderr)
            medians = measure(files, side, images, args.runs)
            times.update({(path, side): value for path, value in medians.items()})
        print(machine(0), "", table(files, args.sides, threads, times, memory), "", sep="\n", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
