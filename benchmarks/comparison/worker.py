"""One step of one method of a comparison, run by run.py and latency.py in a process, and an environment, of its own.

Imports nothing that one of the environments lacks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common import peak_memory
from benchmarks.comparison.methods import MODULES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("verb", choices=("train", "predict", "time"))
    add("--model", required=True, choices=MODULES)
    add("--data", type=Path, help="folder laid out by data.py")
    add("--side", type=int, default=192, help="of the square input in pixels (default: 192)")
    add("--output", type=Path, required=True, help="json to write")
    add("--weights", type=Path, help="of a training")
    add("--minutes", type=float, default=30.0, help="train: how long (default: 30)")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")
    add("--images", type=int, default=20, help="time: how many (default: 20)")
    add("--options", nargs="+", default=[], metavar="KEY=VALUE", help="train: settings of the method's own")
    return parser.parse_args(argv)


def time_model(method: Any, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds an image, pre- and post-processing included, and the most memory this process ever had."""
    find = method.load(args)
    files = sorted((args.data / "yolo" / "images" / "val").iterdir())
    images = [method.read(file) for file in files[: args.images]]
    for image in images:  # once before: a runtime may prepare itself for every shape that it meets
        find(image)
    times = []
    for image in images:
        begin = time.perf_counter()
        find(image)
        times.append(1000 * (time.perf_counter() - begin))
    return {"milliseconds": statistics.median(times), "megabytes": peak_memory() / 2**20}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    args.options = dict(option.split("=", 1) for option in args.options)
    method = importlib.import_module(f"benchmarks.comparison.{MODULES[args.model]}")
    result = time_model(method, args) if args.verb == "time" else getattr(method, args.verb)(args)
    partial = args.output.with_name(f".{args.output.name}.part")
    partial.write_text(json.dumps(result))
    partial.replace(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
