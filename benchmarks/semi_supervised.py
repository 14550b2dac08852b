"""What unlabelled images add: AP of supervised training alone, with one path, and with three, over several seeds.

    python benchmarks/semi_supervised.py --start runs/DEMO/weights/best.pt --output runs/ssl          # synthetic people
    python benchmarks/semi_supervised.py --start runs/DEMO/weights/best.pt --output runs/ssl-10 \
        --photographs DIR --share 0.1 --side 192 --baseline_epochs 30 --epochs 20

All arms start from the same weights: those of --start, after --baseline_epochs on the labelled images. Each arm then
sees the labelled images for --epochs more, and its best weights on the calibration images are taken, which may be
those it started from. AP is that of test images which took no part in anything. Synthetic people: a data set of its own.
Photographs: a fraction of DIR/coco_person/train.json is labelled; unlabelled are the rest of it, DIR/coco_extra and
DIR/lspet; val.json is divided, half to calibrate and half to test. A command that was stopped goes on when repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from datasets.synthetic import write_dataset
from sia.coco.coco_files import Row, read_json, with_images, write_annotations
from sia.errors import TrainingError, exit_status
from sia.io.checkpoint import load_checkpoint
from sia.io.output_file import write_json, write_text
from sia.runtimes.runtime import TorchRuntime
from stages.evaluation.evaluator import evaluate_model
from stages.ssl import stage as ssl
from stages.stage import StageWork
from stages.training import train as baseline
from stages.training.initialization import Start
from utils.config.train_config import AUGMENTATIONS, TrainConfig

ARMS: dict[str, tuple[str, ...]] = {"supervised": (), "one path": ("geometry",), "three paths": AUGMENTATIONS}
LABELLED, UNLABELLED, CALIBRATE, TEST, DRAWN_SEED = 300, 2000, 200, 200, 1


@dataclass(frozen=True)
class Problem:
    """Annotation files of the parts below one folder of images, and folders without labels."""

    root: Path
    parts: dict[str, Path]
    unlabelled: tuple[str, ...]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--start", type=Path, required=True, help="weights to start from; never of the test images")
    parser.add_argument("--output", type=Path, required=True, help="folder for everything; repeat it to go on")
    parser.add_argument(
        "--photographs", type=Path, help="folder with coco_person/, coco_extra/, lspet/; else synthetic people"
    )
    parser.add_argument("--share", type=float, default=0.1, help="fraction of the photographs that is labelled (0.1)")
    parser.add_argument("--side", type=int, default=128, help="input size in pixels (128)")
    parser.add_argument("--baseline_epochs", type=int, default=0, help="before all arms, on the labelled images (0)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the labelled images in each arm (10)")
    parser.add_argument("--batch", type=int, default=8, help="labelled and unlabelled images a step (8)")
    parser.add_argument("--lr", type=float, help="peak learning rate; that of a pretrained start by default")
    parser.add_argument("--precision", type=float, default=0.7, help="-PSEUDO_PRECISION (0.7)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    return parser.parse_args(arguments)


def drawn(output: Path) -> Problem:
    """People drawn for this benchmark."""
    images = output / "images"
    write_dataset(images, LABELLED + UNLABELLED + CALIBRATE, TEST, 128, DRAWN_SEED, close=True)
    train = read_json(images / "train.json", "annotation file")
    test = read_json(images / "val.json", "annotation file")
    for content, split in ((train, "train"), (test, "val")):
        for image in content["images"]:
            image["file_name"] = f"{split}/{image['file_name']}"
    rows = np.arange(len(train["images"]))
    parts = {"fit": (train, rows[:LABELLED]), "calibrate": (train, rows[-CALIBRATE:]), "test": (test, rows[:TEST])}
    return Problem(images / "images", _write_parts(output, parts), (str(images / "images" / "train"),))


def photographs(folder: Path, output: Path, share: float) -> Problem:
    """A part of the photographs with labels; the same one for all seeds."""
    train = read_json(folder / "coco_person" / "train.json", "annotation file")
    held_out = read_json(folder / "coco_person" / "val.json", "annotation file")
    rows = np.random.default_rng(0).permutation(len(train["images"]))[: round(share * len(train["images"]))]
    half = np.random.default_rng(0).permutation(len(held_out["images"]))
    middle = len(half) // 2
    parts = {"fit": (train, rows), "calibrate": (held_out, half[:middle]), "test": (held_out, half[middle:])}
    others = tuple(str(folder / name / "images") for name in ("coco_person", "coco_extra", "lspet"))
    return Problem(folder / "coco_person" / "images", _write_parts(output, parts), others)


def _write_parts(
    output: Path, parts: dict[str, tuple[Row, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]
) -> dict[str, Path]:
    """The chosen images of each annotation file as a file of its own."""
    files = {}
    for name, (content, rows) in parts.items():
        files[name] = output / f"{name}.json"
        write_annotations(files[name], with_images(content, {content["images"][row]["id"] for row in rows.tolist()}))
    return files


def make_config(args: argparse.Namespace, problem: Problem, seed: int) -> TrainConfig:
    """The flags that all arms share; augmentation as it suits short runs."""
    model = load_checkpoint(args.start)["model_config"]
    return TrainConfig(
        model=model["name"], size=model["size"], imgsz=(args.side, args.side), coco_root=problem.root,
        train_ann=problem.parts["fit"], val_ann=problem.parts["calibrate"], bs=args.batch, lr=args.lr, seed=seed,
        mosaic=0.0, rotate=10.0, scale_min=0.8, scale_max=1.4, colour=0.5, workers=0, epoch=args.epochs,
        ssl_epoch=args.epochs, pseudo_precision=args.precision, eval_every=max(1, args.epochs // 5),
    )  # fmt: skip


def train(config: TrainConfig, start: Path, folder: Path) -> Path:
    """Supervised training, gone on with where it was stopped; returns its best weights."""
    last = folder / "run" / "weights" / "last.pt"
    source = last if last.is_file() else start
    checkpoint = load_checkpoint(source)
    if source is start:
        checkpoint.pop("training", None)
    config = replace(config, output=folder, exp="run", resume=source)
    if baseline.run(config, Start(checkpoint)):
        raise TrainingError("stopped; the same command goes on.")
    return last.with_name("best.pt")


def semi_supervised(config: TrainConfig, problem: Problem, start: Path, folder: Path) -> tuple[Path, Row]:
    """The stage; its weights, or those it started from where it declines, and its figures."""
    work = StageWork(folder, config, problem.root, problem.parts, {}, start, print)
    result = ssl.run(work)
    return result.weights or start, {**result.figures, "declined": result.declined}


def run_arm(name: str, config: TrainConfig, problem: Problem, start: Path, folder: Path) -> Row:
    """Trains and measures one arm; what is finished is read from its folder."""
    done = folder / "result.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        began, figures = time.process_time(), Row()
        if ARMS[name]:
            config = replace(config, paths=ARMS[name], unlabelled=problem.unlabelled)
            weights, figures = semi_supervised(config, problem, start, folder)
        else:
            trained = train(config, start, folder)
            before, after = (measure(path, config, problem, "calibrate") for path in (start, trained))
            weights = trained if after["AP"] > before["AP"] else start
        result = {"arm": name, "seed": config.seed, **measure(weights, config, problem, "test")}
        write_json(done, {**result, "cpu_seconds": time.process_time() - began, "figures": figures}, indent=2)
    return dict(read_json(done, "result"))


def measure(weights: Path, config: TrainConfig, problem: Problem, part: str) -> Row:
    """AP and AP50 of the images of a part."""
    runtime = TorchRuntime.load(weights, config.device)
    skeleton = runtime.description.skeleton
    data = CocoPose(problem.root, problem.parts[part], skeleton=skeleton)
    loader = validation_loader(data, image_size=config.imgsz, batch_size=config.bs, workers=0)
    metrics = evaluate_model(runtime.model, loader, problem.parts[part], skeleton, runtime.device.torch)
    return {"AP": 100 * metrics.AP, "AP50": 100 * metrics.AP50}


def table(start: Row, results: Sequence[Row]) -> str:
    """One line an arm: means over the seeds and the figures of each."""
    lines = ["| arm | AP | AP50 | AP of each seed | gain over supervised | CPU minutes |", "|-|-|-|-|-|-|"]
    lines.append(f"| start | {start['AP']:.2f} | {start['AP50']:.2f} | | | |")
    supervised = {row["seed"]: row["AP"] for row in results if row["arm"] == "supervised"}
    for name in dict.fromkeys(row["arm"] for row in results):
        rows = [row for row in results if row["arm"] == name]
        gains = [row["AP"] - supervised[row["seed"]] for row in rows if row["seed"] in supervised]
        gain = f"{statistics.mean(gains):+.2f}" if gains and name != "supervised" else ""
        each = ", ".join(f"{row['AP']:.2f}" for row in rows)
        means = [statistics.mean(row[key] for row in rows) for key in ("AP", "AP50", "cpu_seconds")]
        lines.append(f"| {name} | {means[0]:.2f} | {means[1]:.2f} | {each} | {gain} | {means[2] / 60:.1f} |")
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> None:
    """All arms of all seeds, and their table."""
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(args.output / "arguments.json", {key: str(value) for key, value in vars(args).items()}, indent=2)
    problem = photographs(args.photographs, args.output, args.share) if args.photographs else drawn(args.output)
    start, config = args.start, make_config(args, problem, 0)
    if args.baseline_epochs:
        first = replace(config, epoch=args.baseline_epochs, eval_every=max(1, args.baseline_epochs // 3))
        start = train(first, args.start, args.output / "baseline")
    began = measure(start, config, problem, "test")
    results: list[Row] = []
    for seed in args.seeds:
        for name in args.arms:
            folder = args.output / f"{name.replace(' ', '-')}-seed{seed}"
            results.append(run_arm(name, make_config(args, problem, seed), problem, start, folder))
            write_text(args.output / "table.md", table(began, results))
            print(json.dumps({key: results[-1][key] for key in ("arm", "seed", "AP", "AP50")}), flush=True)
    print(table(began, results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(arguments)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
