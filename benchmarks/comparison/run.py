"""Methods trained on the same images, on the same machine, for the same time, with one scorer.

    python benchmarks/comparison/run.py --methods yolo11n yolo26n sia_pose_simple --minutes 30 --output DIR
    python benchmarks/comparison/run.py --data DIR/coco_person --methods yolo11n:nbs=16,batch=8 ... --output DIR

Without --data, 5,000 + 500 images of synthetic people, 192 px, are drawn. A method is NAME or NAME:KEY=VALUE,... with
settings of its own. Each training has one hardware thread. Stopped, the same command goes on where each was last saved.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common import launch, machine, table
from benchmarks.comparison.methods import Method, parse_method
from sia.coco.coco_files import load_skeleton, read_json
from sia.errors import ConfigError
from sia.io.output_file import write_json

TRAIN, VAL, SIZE, SEED = 5000, 500, 192, 0
"""The synthetic images."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--methods", nargs="+", required=True, type=parse_method, metavar="NAME[:KEY=VALUE,...]")
    add("--data", type=Path, help="images/, train.json, val.json (default: synthetic people)")
    add("--images", type=int, help="train on the first so many only (default: all)")
    add("--minutes", type=float, default=30.0, help="training time each (default: 30)")
    add("--side", type=int, default=192, help="of the square input in pixels (default: 192)")
    add("--seeds", type=int, nargs="+", default=[0], help="one training each (default: 0)")
    add("--output", type=Path, required=True, help="folder of everything that is written")


def check_settings(args: argparse.Namespace) -> None:
    """What is in the folder already has to be of the same images, size and time.

    Raises:
        ConfigError: it isn't.
    """
    file, data = args.output / "settings.json", args.data and str(args.data.resolve())
    settings = {"data": data, "images": args.images, "minutes": args.minutes, "side": args.side}
    if file.is_file() and (before := json.loads(file.read_text())) != settings:
        raise ConfigError(f"{args.output} is of {before}, not of {settings}. Name another --output.")
    write_json(file, settings)


def make_data(args: argparse.Namespace) -> Path:
    """The data as all methods find it."""
    from benchmarks.comparison.data import lay_out
    from datasets.synthetic import write_dataset

    source = args.data or args.output / "synthetic"
    if args.data is None:
        write_dataset(source, TRAIN, VAL, SIZE, SEED)
    folder: Path = args.output / f"data-{args.images or 'all'}"
    lay_out(source, folder, args.images)
    return folder


def train(method: Method, seed: int, args: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Trains and predicts, unless that is done, and returns the record of the training."""
    folder = args.output / f"{method.folder}-seed{seed}"
    record, log = folder / "record.json", folder / "log.txt"
    folder.mkdir(parents=True, exist_ok=True)
    flags: dict[str, object] = {"data": data, "side": args.side}
    if not record.is_file():
        print(f"{folder.name}: training", flush=True)
        method.run("train", {**flags, "minutes": args.minutes, "seed": seed, "output": record}, log)
    found: dict[str, Any] = json.loads(record.read_text())
    if not (folder / "results.json").is_file():
        method.run("predict", {**flags, "weights": found["file"], "output": folder / "results.json"}, log)
    return found


def row(method: Method, seed: int, record: dict[str, Any], args: argparse.Namespace, data: Path) -> list[str]:
    """Of the table: scored by the project's own evaluation, the same for all methods."""
    from sia.evaluation.coco_eval import evaluate

    results = read_json(args.output / f"{method.folder}-seed{seed}" / "results.json", "results file")
    metrics = evaluate(data / "val.json", results, load_skeleton(data / "val.json"))
    scores = [f"{100 * (value or 0):.1f}" for value in (metrics.AP, metrics.AP50, metrics.box_AP)]
    images, seconds = record["images"], record["seconds"]
    speed = [f"{seconds / 60:.1f}", f"{images:,}", f"{images / seconds:.1f}"]
    return [method.label, str(seed), f"{record['parameters'] / 1e6:.2f}", *speed, *scores]


def run(args: argparse.Namespace) -> None:
    """Methods alternate within each seed; table.md grows with each."""
    args.output.mkdir(parents=True, exist_ok=True)
    check_settings(args)
    data, rows, versions = make_data(args), [], {}
    head = ["method", "seed", "parameters (M)", "minutes", "images", "img/s", "AP", "AP50", "box AP"]
    for seed in args.seeds:
        for method in args.methods:
            record = train(method, seed, args, data)
            rows.append(row(method, seed, record, args, data))
            versions[method.label] = f"- {method.label}: {record['versions']}"
            where = f"{args.data.name if args.data else 'synthetic people'}, {args.side} px"
            about = f"{where}, {args.minutes:g} minutes on one thread, {machine()}"
            text = "\n".join([about, *versions.values(), "", table(head, rows)])
            (args.output / "table.md").write_text(text + "\n")
            print(text, flush=True)


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
