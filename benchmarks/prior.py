"""What the pose prior brings: AP before and after, on a model's predictions and on simulated ones of several strengths.

    python benchmarks/prior.py --photographs DIR/coco_person --poses DIR/pose_prior/train2017_keypoints.npz
    python benchmarks/prior.py --drawn                          # synthetic people, no data needed

The images of val.json are split in two halves, by image and seed: one to calibrate on, one to test on. "stage" is
the AP of what the stage hands on, by what it saw of the calibrate half; "proven" that after the pipeline's proof, which
refuses it unless the lower end of the 95 % interval of the gain is above 0. Simulated predictions are labels with drawn
errors, confidences and scores. The same command goes on where it was stopped; table.md is written after each run.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.prior_simulated import LEVELS, simulate
from benchmarks.prior_tables import Row, Rows, errors_table
from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from datasets.synthetic import write_dataset
from sia.coco.coco_files import Row as Json
from sia.coco.coco_files import load_ground_truth, read_json, with_images, write_annotations
from sia.errors import exit_status
from sia.io.bundled_weights import DEFAULT
from sia.io.output_file import write_json, write_text
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.labels import labelled_people
from stages.error_model.pose_errors import measure_errors
from stages.evaluation.evaluator import predict_results
from stages.prior.stage import run
from stages.stage import StageResult, StageWork
from utils.config.train_config import TrainConfig
from utils.hub.model_store import sha256_of
from utils.metrics.matches import find_matches
from utils.metrics.predictions import Predictions, predictions_from
from utils.metrics.significance import prove

MODEL = "model"
PARTS = ("calibrate", "test")


@dataclass(frozen=True)
class Data:
    """What all runs share.

    Attributes:
        images: folder of the images.
        fit: annotations to learn poses from.
        val: annotations to split.
    """

    images: Path
    fit: Path
    val: Path

    @classmethod
    def of(cls, args: argparse.Namespace) -> Data:
        """Photographs, or synthetic people, drawn once."""
        root = args.photographs or args.output_dir / "drawn"
        if not args.photographs and not (root / "val.json").is_file():
            shutil.rmtree(root, ignore_errors=True)
            write_dataset(root, train=600, val=240, size=128, seed=1)
        images = root / "images" if args.photographs else root
        return cls(images, root / "train.json", root / "val.json")


def split(content: Json, folder: Path, seed: int) -> dict[str, Path]:
    """Two annotation files, each with half of the images."""
    images = content["images"]
    order = np.random.default_rng(seed).permutation(len(images))
    paths = {name: folder / f"{name}-{seed}.json" for name in PARTS}
    for number, path in enumerate(paths.values()):
        write_annotations(path, with_images(content, {images[i]["id"] for i in order[number::2]}))
    return paths


def measure(
    kind: str, seed: int, halves: dict[str, Path], people: dict[str, Predictions], data: Data, args: argparse.Namespace
) -> Row:
    """Runs the stage on one split, in a folder of its own, and proves it on the test half."""
    folder = args.output_dir / f"{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = {part: folder / f"before-{part}.json" for part in PARTS}
    for part, path in before.items():
        people[part].save(path, 1)
    config = TrainConfig(
        model="sia_pose_simple", coco_root=data.images, train_ann=data.fit, val_ann=halves["test"], seed=seed,
        prior_poses=args.poses, prior_steps=args.steps,
    )  # fmt: skip
    work = StageWork(folder, config, data.images, {"fit": data.fit, **halves}, before, None, _say)
    begin = time.process_time()
    result = run(work)
    return _row(kind, seed, work, result, time.process_time() - begin)


def _row(kind: str, seed: int, work: StageWork, result: StageResult, seconds: float) -> Row:
    files = [work.before["test"], result.after.get("test", work.before["test"])]
    first, second = (find_matches(work.parts["test"], json.loads(file.read_text()), COCO_PERSON) for file in files)
    proof = prove(first, second, seed)
    decision = "declined" if result.declined else "applied" if proof.difference.is_gain else "refused"
    stage = proof.before if result.declined else proof.after
    gain = "-" if result.declined else proof.difference.percent(sign=True)
    moves = result.figures.get("mean OKS term by fraction of the advised move", {})
    parts = result.figures.get("parts", [])
    return Row(kind, seed, 100 * proof.before.value, 100 * stage.value, gain, parts, decision, moves, round(seconds, 1))


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def predict_all(data: Data, weights: Path, folder: Path) -> list[Json]:
    """The model's people in all images, kept in the folder; with them a table of what it gets wrong."""
    path = folder / "model.json"
    if not path.is_file():
        predictor = Predictor.load(weights, "cpu")
        images = CocoPose(data.images, data.val, skeleton=predictor.skeleton)
        loader = validation_loader(images, image_size=predictor.image_size, batch_size=16, workers=0)
        rows = predict_results(predictor.runtime.find, loader, data.val, predictor.skeleton)
        truth = load_ground_truth(data.val, COCO_PERSON)
        errors = measure_errors(predictions_from(rows, truth, COCO_PERSON), labelled_people(truth), COCO_PERSON)
        write_text(folder / "errors.md", errors_table(errors, COCO_PERSON))
        write_json(path, rows)
    content: list[Json] = read_json(path, "results file")
    return content


def people_of(kind: str, annotations: Path, seed: int, rows: list[Json]) -> Predictions:
    """Predictions for one half."""
    truth = load_ground_truth(annotations, COCO_PERSON)
    if kind != MODEL:
        return simulate(labelled_people(truth), kind, COCO_PERSON, seed)
    ids = set(truth.images)
    return predictions_from([row for row in rows if row["image_id"] in ids], truth, COCO_PERSON)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photographs", type=Path, help="folder with images/, train.json and val.json")
    source.add_argument("--drawn", action="store_true", help="synthetic people instead of photographs")
    parser.add_argument("--poses", type=Path, help="more poses to learn from, as -PRIOR_POSES takes them")
    parser.add_argument("--weights", type=Path, default=DEFAULT, help="the model (default: the one that ships)")
    kinds = [MODEL, *LEVELS]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=kinds, help="(default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on (default: 3)")
    parser.add_argument("--steps", type=int, default=1000, help="most steps of training a prior (default: 1000)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/prior"), help="(default: runs/prior)")
    return parser.parse_args(argv)


def settings(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """What decides the figures, beside kind and seed."""
    files = {"poses": args.poses, "weights": args.weights, "val": data.val}
    return {
        "steps": args.steps,
        **{name: file and f"{file.name} {sha256_of(file)[:8]}" for name, file in files.items()},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what is not done yet, and prints the table."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    data = Data.of(args)
    done = Rows(args.output_dir, settings(args, data))
    rows = predict_all(data, args.weights, args.output_dir) if MODEL in args.kinds else []
    content = read_json(data.val, "annotation file")
    for seed in range(args.seeds):
        halves = split(content, args.output_dir, seed)
        for kind in args.kinds:
            if not done.has(kind, seed):
                _say(f"{kind}, seed {seed}")
                people = {part: people_of(kind, path, seed, rows) for part, path in halves.items()}
                done.add(measure(kind, seed, halves, people, data, args))
    print(done.table())
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
