"""Speed of the training loader on real images: python benchmarks/loader.py --data DIR/coco_person.

One process, one thread: decoding, augmentation and collation, without the transfer between processes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import launch, machine, table

AUGMENTATIONS: dict[str, dict[str, Any]] = {"defaults": {}, "all mosaic, 15 degrees": {"mosaic": 1.0, "rotation": 15}}
BATCH = 16


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds images/ and train.json")
    add("--images", type=int, default=320, help="images a turn (default: 320)")
    add("--rounds", type=int, default=3, help="turns of each (default: 3)")
    add("--sides", type=int, nargs="+", default=[256, 640], help="square input sizes in pixels")
    add("--seed", type=int, default=0, help="of the first round (default: 0)")


def measure(side: int, augmentation: str, seed: int, args: argparse.Namespace) -> tuple[float, float]:
    """Images a second of time and of CPU time, after two batches of warm-up."""
    import cv2
    import torch

    from datasets.augmentation.transforms import Augmentation
    from datasets.coco.coco_pose import CocoPose
    from datasets.loader import training_loader

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    data, changes = (
        CocoPose(args.data / "images", args.data / "train.json"),
        Augmentation(**AUGMENTATIONS[augmentation]),
    )
    options: dict[str, Any] = {"image_size": (side, side), "batch_size": BATCH, "workers": 0, "seed": seed}
    batches = iter(training_loader(data, augmentation=changes, **options))
    list(itertools.islice(batches, 2))
    wall, cpu = time.perf_counter(), time.process_time()
    seen = sum(len(batch.images) for batch in itertools.islice(batches, args.images // BATCH))
    return seen / (time.perf_counter() - wall), seen / (time.process_time() - cpu)


def run(args: argparse.Namespace) -> None:
    """Takes turns, and prints medians."""
    turns: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for number, side, augmentation in itertools.product(range(args.rounds), args.sides, AUGMENTATIONS):
        turns.setdefault((side, augmentation), []).append(measure(side, augmentation, args.seed + number, args))
    rows = [(*key, *(f"{median(column):.0f}" for column in zip(*values, strict=True))) for key, values in turns.items()]
    print(table(["side", "augmentation", "img/s", "img per CPU second"], rows))
    print(f"\n{args.rounds} rounds of {args.images} images, batches of {BATCH}, {machine(f'seed {args.seed}')}")


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
