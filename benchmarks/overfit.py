"""Can each variant memorise 32 photographs? Trains and evaluates on the same images, through train_pose.py.

    python benchmarks/overfit.py --data DIR/coco_person [--models sia_pose ...] [--epochs 400]

A model that can't learn 32 images by heart has a fault between labels and loss: status 1 below AP 90. One thread.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import MODELS, ROOT, launch, machine, table
from sia.errors import ConfigError

IMAGES = 32
STILL = "-FLIP 0 -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with images/ and train.json")
    add("--models", nargs="+", default=MODELS, choices=MODELS, help="variants (default: all)")
    add("--size", default="n16", help="size (default: %(default)s)")
    add("--epochs", type=int, default=400, help="epochs (default: 400)")
    add("--side", type=int, default=192, help="input size in pixels (default: 192)")
    add("--output", type=Path, default=ROOT / "runs" / "overfit", help="folder of the runs, a new one")


def write_subset(args: argparse.Namespace) -> Path:
    """The first images of the annotation file, crowds and people without keypoints included."""
    from benchmarks.comparison.data import write_first

    if args.output.exists():
        raise ConfigError(f"{args.output} exists. Name another --output.")
    args.output.mkdir(parents=True)
    subset: Path = args.output / "subset.json"
    write_first(args.data / "train.json", IMAGES, subset)
    return subset


def train(model: str, subset: Path, args: argparse.Namespace) -> tuple[list[float], float]:
    """AP, AP50 and AP75 of the last evaluation, and the CPU minutes of the command, loader included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    flags = (
        f"-MODEL {model} -SIZE {args.size} -IMGSZ {args.side} -INIT scratch -BS 16 -EPOCH {args.epochs} "
        f"-EVAL_EVERY {max(1, args.epochs // 10)} -SEED 0 -DEVICE cpu -WORKERS 1 -EXP {model} {STILL}"
    ).split()
    flags += ["-COCO_ROOT", str(args.data / "images"), "-TRAIN_ANN", str(subset), "-VAL_ANN", str(subset)]
    flags += ["-OUTPUT", str(args.output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(ROOT / "train_pose.py"), *flags], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (args.output / model / "results.csv").open() as stream:
        last = [row for row in csv.DictReader(stream) if row.get("AP")][-1]
    minutes = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    return [100 * float(last[name]) for name in ("AP", "AP50", "AP75")], minutes


def run(args: argparse.Namespace) -> int:
    """Trains the variants one after the other and prints the table."""
    subset, rows, fine = write_subset(args), [], True
    for model in args.models:
        figures, minutes = train(model, subset, args)
        fine &= figures[0] >= 90
        rows.append([model, *(f"{value:.1f}" for value in (*figures, minutes))])
    print(table(["model", "AP", "AP50", "AP75", "CPU minutes"], rows))
    print(f"{IMAGES} images at {args.side} px, {args.epochs} epochs, {machine('seed 0', 'one thread')}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
