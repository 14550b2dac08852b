"""How many scenes of synthetic people one thread draws a second: python benchmarks/synthetic_speed.py."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticScenes


def measure(size: int, scenes: int, seed: int) -> tuple[float, float, float]:
    """Scenes a second of wall time and of CPU time, and people a scene; on one thread."""
    cv2.setNumThreads(1)
    source = SyntheticScenes(size, seed)
    source.scene(scenes)
    wall, cpu = time.perf_counter(), time.process_time()
    people = sum(len(source.scene(index).people) for index in range(scenes))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return scenes / wall, scenes / cpu, people / scenes


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 256, 640], help="sides in pixels")
    parser.add_argument("--scenes", type=int, default=200, help="scenes to draw (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default: 0)")
    args = parser.parse_args(arguments)
    print(f"{processor()}, {os.cpu_count()} threads, 1 used; OpenCV {cv2.__version__}; seed {args.seed}")
    for size in args.sizes:
        wall, cpu, people = measure(size, args.scenes, args.seed)
        print(f"{size:5d} px  {wall:6.1f} scenes/s  {cpu:6.1f} scenes per CPU second  {people:.2f} people/scene")


if __name__ == "__main__":
    main()
