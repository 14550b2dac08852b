"""What the pose prior brings: AP before and after, on a model's predictions and on simulated ones of several strengths.

    python benchmarks/prior.py --photographs DIR/coco_person --poses DIR/pose_prior/train2017_keypoints.npz
    python benchmarks/prior.py --drawn                          # synthetic people, no data needed

The pictures of val.json are split in two halves, by picture and seed: one to calibrate on, one to test on. "stage" is
the AP of what the stage hands on, "proven" that after the pipeline's proof, which refuses it unless the lower end of
the 95 % interval of the gain is above 0. Simulated predictions are labels with drawn errors, confidences and scores.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco_pose import CocoPose
from datasets.loader import validation_loader
from datasets.synthetic import write_dataset
from stages.evaluator import predict_results
from stages.matches import find_matches
from stages.pose_errors import PoseErrors, draw_errors, frame_of
from stages.pose_labels import LabelledPeople, labelled_people, oks_matrix, shared_pictures
from stages.predictor import Predictor
from stages.prior import run
from stages.proof import Proof, prove
from stages.shipped import DEFAULT
from stages.stage import StageWork
from utils.coco_files import Row, load_ground_truth
from utils.config import TrainConfig
from utils.predictions import Predictions, predictions_from
from utils.skeleton import COCO_PERSON, Skeleton

STRONG, MEDIUM, WEAK = "strong", "medium", "weak"
LEVELS = {
    STRONG: (0.3, 0.03, 0.02, 0.05, 0.01),
    MEDIUM: (0.6, 0.05, 0.03, 0.1, 0.04),
    WEAK: (0.9, 0.08, 0.04, 0.2, 0.1),
}
"""Spread of jitter in units of OKS, rates of inversion, swap and miss of each keypoint, and of turned bodies."""

REACH = 4.0
"""Spread of misses, in units of OKS."""


@dataclass(frozen=True)
class Half:
    """One half of the pictures.

    Attributes:
        annotations: its file.
        labels: its people.
        people: the predictions to improve.
    """

    annotations: Path
    labels: LabelledPeople
    people: Predictions


@dataclass(frozen=True)
class Outcome:
    """One run of the stage."""

    name: str
    seed: int
    proof: Proof
    declined: bool
    parts: Sequence[str]
    seconds: float

    def cells(self) -> list[str]:
        """A line of the table."""
        before, after = 100 * self.proof.before.value, 100 * self.proof.after.value
        stage = before if self.declined else after
        proven = after if self.proof.difference.is_gain and not self.declined else before
        decision = "declined" if self.declined else "applied" if self.proof.difference.is_gain else "refused"
        kept = " ".join(line.split(":")[0] for line in self.parts if line.endswith("kept")) or "-"
        gain = "-" if self.declined else self.proof.difference.percent(sign=True)
        return [
            self.name, str(self.seed), f"{before:.1f}", f"{stage:.1f}", gain, kept, decision, f"{proven:.1f}",
            f"{self.seconds:.0f}",
        ]  # fmt: skip


HEADINGS = (
    "predictions",
    "seed",
    "AP before",
    "stage",
    "gain and interval",
    "parts kept",
    "decision",
    "proven",
    "CPU s",
)


def level_errors(level: str, skeleton: Skeleton) -> PoseErrors:
    """Errors of a made-up model; face keypoints scatter more, as their units are small."""
    spread, inverted, swapped, missed, turned = LEVELS[level]
    k = skeleton.num_keypoints
    spreads = spread * np.where(np.array(skeleton.sigmas) < 0.04, 1.5, 1.0)
    paired = np.array(skeleton.flip_order) != np.arange(k)
    return PoseErrors(
        people=0, spread=spreads, reach=np.full(k, REACH), inverted=inverted * paired, swapped=np.full(k, swapped),
        missed=np.full(k, missed), turned=turned, correlation=np.full((k, k), 0.3) + 0.7 * np.eye(k),
        confidence=np.tile([1.5, 0.8, 0.8], (k, 1)), guess=np.tile([[0.0, 0.25], [0.0, 0.35]], (k, 1, 1)),
        guess_confidence=np.tile([-1.5, 0.8], (k, 1)), box=np.tile([0.0, 0.06], (4, 1)),
    )  # fmt: skip


def simulate(labels: LabelledPeople, level: str, skeleton: Skeleton, seed: int) -> Predictions:
    """Everybody found, with errors; and as many wrong people: errors of others, at places of their own."""
    rng = np.random.default_rng(seed)
    errors = level_errors(level, skeleton)
    right = draw_errors(errors, labels, skeleton, rng)
    ghosts = labels.select(rng.permutation(len(labels)))
    wrong = draw_errors(replace(errors, missed=np.full(len(errors.missed), 0.6)), ghosts, skeleton, rng)
    shift = rng.normal(0, 0.5, (len(ghosts), 2)) * frame_of(ghosts.boxes)[1][:, 0]
    boxes = np.concatenate([right.boxes, wrong.boxes + np.tile(shift, 2)])
    points = np.concatenate([right.keypoints, wrong.keypoints + shift[:, None]])
    confidences = np.concatenate([right.confidences, wrong.confidences])
    ids = np.concatenate([labels.image_ids, ghosts.image_ids])
    people = Predictions(ids, boxes, np.zeros(len(ids)), points, confidences, np.full(confidences.shape, np.nan))
    people = people.map(lambda rows: rows[np.argsort(ids, kind="stable")])
    return replace(people, scores=_scores(people, labels, skeleton, rng))


def _scores(
    people: Predictions, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The best OKS, known only roughly."""
    best = np.zeros(len(people))
    for rows, columns in shared_pictures(people.image_ids, labels.image_ids):
        group = Predictions(*(values[rows] for values in vars(people).values()))
        best[rows] = oks_matrix(group, labels.select(columns), skeleton.sigmas).max(1)
    return 1 / (1 + np.exp(-(4 * (best - 0.5) + rng.normal(0, 1.0, len(best)))))


def split(content: Row, folder: Path, seed: int) -> list[Path]:
    """Two annotation files, each with half of the pictures."""
    images = content["images"]
    order = np.random.default_rng(seed).permutation(len(images))
    paths = []
    for number, name in enumerate(("calibrate", "test")):
        chosen = [images[i] for i in sorted(order[number::2])]
        ids = {image["id"] for image in chosen}
        people = [row for row in content["annotations"] if row["image_id"] in ids]
        path = folder / f"{name}-{seed}.json"
        path.write_text(json.dumps({**content, "images": chosen, "annotations": people}))
        paths.append(path)
    return paths


def measure(
    name: str, seed: int, halves: list[Path], fit: Path, make: Callable[[Path], Predictions], args: argparse.Namespace
) -> Outcome:
    """Runs the stage on one split and proves it on the test half."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        before = dict(zip(("calibrate", "test"), halves, strict=True))
        results = {part: folder / f"before-{part}.json" for part in before}
        for part, annotations in before.items():
            make(annotations).save(results[part])
        config = TrainConfig(
            model="sia_pose_simple", coco_root=folder, train_ann=fit, val_ann=halves[1], seed=seed,
            prior_poses=args.poses, prior_steps=args.steps,
        )  # fmt: skip
        work = StageWork(
            folder,
            config,
            folder,
            {"fit": fit, **before},
            results,
            None,
            lambda line: print(f"  {line}", file=sys.stderr, flush=True),
        )
        begin = time.process_time()
        result = run(work)
        seconds = time.process_time() - begin
        files = [results["test"], result.after.get("test", results["test"])]
        first, second = (find_matches(halves[1], json.loads(file.read_text()), COCO_PERSON) for file in files)
        parts = result.figures.get("parts", [])
        return Outcome(name, seed, prove(first, second, seed), bool(result.declined), parts, seconds)


def predict_all(images: Path, annotations: Path, weights: Path) -> list[Row]:
    """The model's people in all pictures."""
    predictor = Predictor.load(weights, "cpu")
    data = CocoPose(images, annotations, skeleton=predictor.skeleton)
    loader = validation_loader(data, image_size=predictor.image_size, batch_size=16, workers=0)
    return predict_results(predictor.runtime.find, loader, annotations, predictor.skeleton)


def of_images(rows: list[Row], annotations: Path) -> Predictions:
    """Those of one half's pictures."""
    truth = load_ground_truth(annotations, COCO_PERSON)
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
    parser.add_argument(
        "--kinds", nargs="+", default=["model", *LEVELS], choices=["model", *LEVELS], help="(default: all)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on (default: 3)")
    parser.add_argument("--steps", type=int, default=1000, help="most steps of training a prior (default: 1000)")
    return parser.parse_args(argv)


def data_of(args: argparse.Namespace, scratch: Path) -> tuple[Path, Path, Path]:
    """Folder of pictures, annotations to fit on, and annotations to split."""
    if args.photographs:
        return args.photographs / "images", args.photographs / "train.json", args.photographs / "val.json"
    root = scratch / "drawn"
    write_dataset(root, train=600, val=240, size=128, seed=1)
    return root, root / "train.json", root / "val.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, line by line."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        images, fit, val = data_of(args, Path(scratch))
        rows = predict_all(images, val, args.weights) if "model" in args.kinds else []
        content = json.loads(val.read_text())
        print("| " + " | ".join(HEADINGS) + " |\n" + "|-" * len(HEADINGS) + "|", flush=True)
        for seed in range(args.seeds):
            halves = split(content, Path(scratch), seed)
            for kind in args.kinds:

                def make(file: Path, kind: str = kind, seed: int = seed) -> Predictions:
                    if kind == "model":
                        return of_images(rows, file)
                    return simulate(labelled_people(load_ground_truth(file, COCO_PERSON)), kind, COCO_PERSON, seed)

                outcome = measure(kind, seed, halves, fit, make, args)
                print("| " + " | ".join(outcome.cells()) + " |", flush=True)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {args.steps} steps")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
