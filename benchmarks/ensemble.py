"""What the fusion of several members is worth: python benchmarks/ensemble.py --photographs DIR/coco_person.

Half of the photographs are for choosing (cross-fitted), the other half is for the figures; the halves change with the
seed. The members are views of one model of ours, or simulated: labels with errors of a known kind.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.prior import split
from benchmarks.prior_simulated import simulate as simulate_model
from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import Row, load_ground_truth, read_json, with_images, write_annotations
from sia.errors import exit_status
from sia.io.bundled_weights import DEFAULT
from sia.io.letterbox import FILL
from sia.io.output_file import named_folder
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.own import OwnExpert, View
from stages.ensemble.fusion import ABSENT, group_people
from stages.ensemble.member_predictions import INPUT, VIEWS, MemberPredictions
from stages.ensemble.members import find_everybody, join
from stages.ensemble.refinement import Half, moves_of, train
from stages.ensemble.refinement import choose as choose_share
from stages.ensemble.stage import choose, fused_test
from stages.error_model.calibration import units_of
from stages.error_model.folds import CalibrationSet, in_images
from stages.error_model.labels import LabelledPeople, labelled_people
from stages.prior.parts import Truth
from stages.stage import StageWork
from utils.config.train_config import TrainConfig
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions, digest_of

Floats = NDArray[np.float64]
Members = dict[str, Predictions]

KINDS = ("strong", "medium", "weak", "strong-grey", "medium-grey", "weak-grey", "model")
"""Predictions for the refinement network: simulated ones of `benchmarks.prior`, also with grey images, or a model's."""

NEAR, FAR = 0.5, 2.5
"""Spread of a simulated keypoint that is found, and of one that is not, in units of OKS."""


def simulate(
    truth: LabelledPeople, rng: np.random.Generator, shared: Floats, duplicate_iou: float, spread: float
) -> Predictions:
    """A member that finds nine of ten people and one that isn't there for each five; 8 % of keypoints are far off.

    Args:
        truth: who is there.
        rng: of this member's own errors.
        shared: (M, K, 2) errors that all members have in common, standard normal.
        duplicate_iou: correlation with the other members.
        spread: of the keypoints, as a multiple of `NEAR`.
    """
    units = units_of(truth.boxes, COCO_PERSON)
    lost = rng.random(units.shape) < 0.08
    noise = np.sqrt(duplicate_iou) * shared + np.sqrt(1 - duplicate_iou) * rng.standard_normal(shared.shape)
    points = truth.keypoints + noise * (np.where(lost, FAR, NEAR * spread) * units)[..., None]
    middle = (truth.boxes[:, None, :2] + truth.boxes[:, None, 2:]) / 2
    points = np.where(truth.labelled[..., None], points, middle + 5 * noise * units[..., None])
    trust = np.where(lost, -0.5, 1.5) + rng.standard_normal(units.shape)
    confidences = 1 / (1 + np.exp(-trust))
    blank = np.full(units.shape, np.nan)
    people = Predictions(truth.image_ids, truth.boxes, confidences.mean(-1), points, confidences, blank)
    false = people.select(slice(len(truth) // 5))
    away = (false.boxes[:, 2:] - false.boxes[:, :2])[:, [0, 1, 0, 1]]
    false = replace(
        false,
        boxes=false.boxes + away,
        keypoints=false.keypoints + away[:, None, :2],
        scores=false.scores * rng.random(),
    )
    found = rng.random(len(truth)) < 0.9
    everybody = join([people.select(found), false])
    order = np.argsort(everybody.image_ids, kind="stable")
    return everybody.select(order)


def exchange(people: Predictions, share: float, rng: np.random.Generator) -> Predictions:
    """Left and right of some people."""
    chosen = (rng.random(len(people)) < share)[:, None, None]
    return replace(people, keypoints=np.where(chosen, people.keypoints[:, COCO_PERSON.flip_order], people.keypoints))


def simulated(truth: LabelledPeople, seed: int) -> dict[str, Members]:
    """Ensembles of three members by what is special about them."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((*truth.labelled.shape, 2))

    def three(duplicate_iou: float, spreads: Sequence[float]) -> list[Predictions]:
        return [simulate(truth, rng, shared, duplicate_iou, spread) for spread in spreads]

    equal = three(0.0, (1, 1, 1))
    kinds = {
        "three equal": equal,
        "errors 0.7 alike": three(0.7, (1, 1, 1)),
        "one half as precise": three(0.0, (1, 1, 2)),
        "one with 30 % of people's sides exchanged": [*equal[:2], exchange(equal[2], 0.3, rng)],
        "all with 15 % of people's sides exchanged": [exchange(people, 0.15, rng) for people in equal],
    }
    return {kind: dict(zip((INPUT, "second", "third"), members, strict=True)) for kind, members in kinds.items()}


def plain_mean(members: Members) -> Predictions:
    """Grouped, then averaged: what the fusion has to beat."""
    parts = []
    for image_id in np.unique(np.concatenate([people.image_ids for people in members.values()])):
        people = [part.of_image(int(image_id)) for part in members.values()]
        for group in group_people(people, COCO_PERSON):
            rows = join([part.select(np.array([r])) for part, r in zip(people, group, strict=True) if r != ABSENT])
            mean = rows.map(lambda a: a.astype(np.float64).mean(0, keepdims=True))
            mean = replace(mean, image_ids=rows.image_ids[:1], scores=rows.scores.sum(keepdims=True) / len(people))
            parts.append(mean)
    return join(parts)


def views(photographs: Path, weights: Path) -> Members:
    """What a model finds in all of val.json, by view."""
    predictor = Predictor.load(weights, "cpu")
    images = CocoPose(photographs / "images", photographs / "val.json", skeleton=predictor.skeleton)
    found = {INPUT: View()} | {str(view): view for view in VIEWS["flip,scale"]}
    return {name: find_everybody(OwnExpert(predictor, view), images) for name, view in found.items()}


def compare(members: Members, content: Row, seed: int, folder: Path) -> Row:
    """Chooses on one half, measures on the other."""
    ids = np.random.default_rng(seed).permutation(sorted(image["id"] for image in content["images"]))
    halves = {"calibrate": ids[: len(ids) // 2], "test": ids[len(ids) // 2 :]}
    paths = {part: folder / f"{part}-{seed}.json" for part in halves}
    for part, path in paths.items():
        write_annotations(path, with_images(content, set(halves[part].tolist())))
    parts = {
        part: {name: in_images(people, chosen) for name, people in members.items()} for part, chosen in halves.items()
    }
    calibrate = CalibrationSet.open(paths["calibrate"], COCO_PERSON, seed)
    choice = choose(parts["calibrate"], calibrate, lambda line: None)
    fused = fused_test(MemberPredictions(parts["calibrate"], parts["test"], {}), choice.members, calibrate)
    alone = [score(paths["test"], people) for people in parts["test"].values()]
    figures = {
        "input": alone[0],
        "best member": max(alone),
        "plain mean": score(paths["test"], plain_mean(parts["test"])),
    }
    return {**figures, "fusion": score(paths["test"], fused), "members": len(choice.members)}


def score(path: Path, people: Predictions) -> float:
    """AP in percent."""
    return 100 * evaluate(path, people.rows(1), COCO_PERSON).AP


def correct_all(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints a line for each seed and kind of predictions: AP on one half before and after the refinement network."""
    photographs, kinds = arguments.photographs, arguments.refinement_network
    content = read_json(photographs / "val.json", "annotation file")
    print("| predictions | seed | AP before | after | all moves | share | on calibrate | OKS term | CPU s |")
    print("|-|-|-|-|-|-|-|-|-|")
    for seed, kind in itertools.product(range(arguments.seeds), kinds):
        halves = split(content, folder, seed)
        name, _, images = kind.partition("-")
        people = {part: _predictions(name, path, arguments, seed) for part, path in halves.items()}
        root = _grey(folder / "grey", photographs) if images == "grey" else photographs / "images"
        parts = {"fit": photographs / "train.json", **halves}
        row = _row(_work(folder / f"{kind}-{seed}", root, parts, arguments.steps, seed), people)
        print(f"| {kind} | {seed} | " + " | ".join(row) + " |", flush=True)


def _predictions(kind: str, annotations: Path, arguments: argparse.Namespace, seed: int) -> Predictions:
    """Of a simulated model, or of --weights."""
    if kind == "model":
        predictor = Predictor.load(arguments.weights or DEFAULT, "cpu")
        images = CocoPose(arguments.photographs / "images", annotations, skeleton=predictor.skeleton)
        return find_everybody(OwnExpert(predictor, View()), images)
    return simulate_model(labelled_people(load_ground_truth(annotations, COCO_PERSON)), kind, COCO_PERSON, seed)


def _grey(folder: Path, photographs: Path) -> Path:
    """Images of the same names and sizes without anything in them: what the refinement network learns of poses alone."""
    if folder.is_dir():
        return folder
    folder.mkdir()
    for part in ("train.json", "val.json"):
        for image in read_json(photographs / part, "annotation file")["images"]:
            blank = np.full((image["height"], image["width"], 3), FILL, np.uint8)
            cv2.imwrite(str(folder / image["file_name"]), blank)
    return folder


def _work(folder: Path, root: Path, parts: dict[str, Path], steps: int, seed: int) -> StageWork:
    folder.mkdir()
    config = TrainConfig("sia_pose_simple", root, parts["fit"], parts["test"], seed=seed, refinement_steps=steps)
    return StageWork(
        folder, config, root, parts, {}, None, lambda line: print(f"  {line}", file=sys.stderr, flush=True)
    )


def _row(work: StageWork, people: dict[str, Predictions]) -> list[str]:
    """The cells of a row."""
    start = time.process_time()
    calibrate = CalibrationSet.open(work.parts["calibrate"], COCO_PERSON, work.config.seed)
    halves = [Half.of(people["calibrate"], ids, calibrate) for ids in calibrate.halves()]
    training_crops = labelled_people(load_ground_truth(work.parts["fit"], COCO_PERSON))
    source = digest_of(vars(people["calibrate"]).values())
    moves = moves_of(work, people, calibrate, train(work, halves, training_crops, calibrate, source))
    correction, before = choose_share(people, moves, calibrate), people["test"]
    whole = replace(before, keypoints=before.keypoints + moves["test"])
    truth = Truth.of(before, labelled_people(load_ground_truth(work.parts["test"], COCO_PERSON)), COCO_PERSON)
    versions = (before, correction.people["test"], whole)
    terms = [float(np.nanmean(truth.terms(version))) for version in versions[:2]]
    figures = correction.figures
    return [
        *(f"{score(work.parts['test'], version):.1f}" for version in versions), f"{figures['fraction of its moves']:g}",
        f"{100 * figures['AP before']:.1f} -> {100 * figures['AP after']:.1f}",
        f"{terms[0]:.3f} -> {terms[1]:.3f}", f"{time.process_time() - start:.0f}",
    ]  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    """Prints a line for each ensemble: the mean over the seeds, and each seed's gain."""
    folder = named_folder(arguments.output_dir)
    if arguments.refinement_network:
        return correct_all(arguments, folder)
    content = read_json(arguments.photographs / "val.json", "annotation file")
    truth = labelled_people(load_ground_truth(content, COCO_PERSON))
    if arguments.weights:
        own = {f"views of {arguments.weights.name}": views(arguments.photographs, arguments.weights)}
    ensembles = [own if arguments.weights else simulated(truth, seed) for seed in range(arguments.seeds)]
    print(
        "| members | input | best member | plain mean | fusion | taken | gain over the best, by seed |\n|-|-|-|-|-|-|-|"
    )
    for kind in ensembles[0]:
        rows = [compare(members[kind], content, seed, folder) for seed, members in enumerate(ensembles)]
        mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        cells = " | ".join(f"{value:.1f}" for value in mean.values())
        gains = ", ".join(f"{row['fusion'] - row['best member']:+.1f}" for row in rows)
        print(f"| {kind} | {cells} | {gains} |", flush=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder with val.json and images/")
    parser.add_argument(
        "--weights", type=Path, help="a model of ours, whose views to fuse; without it, simulated members"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--refinement network",
        nargs="+",
        choices=KINDS,
        help="instead, what the refinement network makes of such predictions",
    )
    parser.add_argument("--steps", type=int, default=1500, help="of training each of its two networks")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/ensemble"), help="for the halves' annotations")
    return parser.parse_args(argv)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(exit_status(lambda: main(parse())))
