"""Can each variant memorise 32 photographs? Trains and evaluates on the same images, through train_pose.py.

    python benchmarks/overfit.py --photographs DIR/coco_person [--models sia_pose ...] [--epochs 400]

A model that can't learn 32 images by heart has a fault somewhere between the labels and the loss. Prints AP and the
CPU minutes of the whole command, one thread, and keeps the run folders.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.coco.coco_files import read_json, with_images, write_annotations

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("sia_pose_simple", "sia_pose", "sia_pose_decoder_led")
STILL = [word for flag in ("FLIP", "MOSAIC", "ROTATE", "SHIFT", "COLOUR") for word in (f"-{flag}", "0")]
STILL += ["-SCALE_MIN", "1", "-SCALE_MAX", "1"]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images/ and train.json")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="variants (default: all)")
    parser.add_argument("--images", type=int, default=32, help="how many photographs (default: 32)")
    parser.add_argument("--epochs", type=int, default=400, help="passes over them (default: 400)")
    parser.add_argument("--side", type=int, default=192, help="input size in pixels (default: 192)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order (default: 0)")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "overfit", help="folder of the runs")
    return parser.parse_args(argv)


def write_subset(annotations: Path, images: int, output: Path) -> Path:
    """The first photographs of an annotation file, crowds and keypoint-less people included."""
    content = read_json(annotations, "annotation file")
    output.mkdir(parents=True, exist_ok=True)
    subset = output / f"first-{images}.json"
    write_annotations(subset, with_images(content, {image["id"] for image in content["images"][:images]}))
    return subset


def train(model: str, subset: Path, args: argparse.Namespace) -> float:
    """Runs the training command; returns its CPU minutes, loader included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable, str(ROOT / "train_pose.py"), "-MODEL", model, "-SIZE", "n16", "-IMGSZ", str(args.side),
        "-INIT", "scratch",
        "-BS", "16", "-EPOCH", str(args.epochs), "-EVAL_EVERY", str(max(1, args.epochs // 10)),
        "-SEED", str(args.seed), *STILL,
        "-COCO_ROOT", str(args.photographs / "images"), "-TRAIN_ANN", str(subset), "-VAL_ANN", str(subset),
        "-OUTPUT", str(args.output), "-EXP", model, "-DEVICE", "cpu", "-WORKERS", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def newest_results(model: str, output: Path) -> list[dict[str, str]]:
    """The evaluated rows of the model's latest run."""
    files = sorted(output.glob(f"{model}*/results.csv"), key=lambda path: path.stat().st_mtime)
    files = [path for path in files if path.parent.name.rsplit("-", 1)[0] == model or path.parent.name == model]
    with files[-1].open() as stream:
        return [row for row in csv.DictReader(stream) if row.get("AP")]


def main(argv: Sequence[str] | None = None) -> int:
    """Trains the variants one after the other and prints the table; fails below AP 90 or above 20 CPU minutes."""
    args = parse_args(argv)
    subset = write_subset(args.photographs / "train.json", args.images, args.output)
    lines = ["| model | AP | AP50 | AP75 | CPU minutes |", "|-|-|-|-|-|"]
    fine = True
    for model in args.models:
        minutes = train(model, subset, args)
        last = newest_results(model, args.output)[-1]
        figures = [100 * float(last[name]) for name in ("AP", "AP50", "AP75")]
        fine &= figures[0] >= 90 and minutes <= 20
        lines.append(f"| {model} | " + " | ".join(f"{value:.1f}" for value in figures) + f" | {minutes:.1f} |")
        print("\n".join(lines), flush=True)
    print(
        f"{args.images} photographs at {args.side} px, {args.epochs} epochs, seed {args.seed}, one thread, {_machine()}"
    )
    return 0 if fine else 1


def _machine() -> str:
    return f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    raise SystemExit(main())
