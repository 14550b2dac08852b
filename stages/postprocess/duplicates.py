"""Post-processing of predictions that may raise AP: one score for person and keypoints, someone found twice told once.

The rule is chosen on half of the images and evaluated on the other half, both ways round: it is used where neither half
loses by the other's choice, and one gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from sia.coco.coco_files import GroundTruth
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.labels import distinct_rows
from sia.evaluation.predictions import Predictions
from sia.skeletons.oks import AREA_OF_BOX, oks_terms
from sia.skeletons.skeleton import Skeleton
from stages.error_model.folds import CalibrationSet

WEIGHTS = (0.0, 0.25, 0.5, 0.75)
LIMITS = (1.0, 0.9, 0.75, 0.6)


@dataclass(frozen=True)
class Rule:
    """How to tidy.

    Attributes:
        weight: of the keypoints' mean confidence in the score, a weighted geometric mean; 0 changes nothing.
        limit: OKS from which the worse of two people is the same one and goes last; 1 changes nothing.
    """

    weight: float = 0.0
    limit: float = 1.0

    def apply(self, people: Predictions, skeleton: Skeleton) -> Predictions:
        """The same people with other scores."""
        scores = people.scores ** (1 - self.weight) * people.confidences.mean(-1) ** self.weight
        tidied = replace(people, scores=scores)
        return tidied if self.limit >= 1 else _without_doubles(tidied, skeleton, self.limit)


def clip(people: Predictions, sizes: Mapping[int, tuple[int, int]]) -> Predictions:
    """Keypoints outside the image are moved to its border, which brings none of them further from its label.

    Args:
        people: with keypoints anywhere.
        sizes: height and width by image id.
    """
    limits = np.array([sizes[int(i)][::-1] for i in people.image_ids], dtype=np.float64).reshape(-1, 1, 2)
    return replace(people, keypoints=np.clip(people.keypoints, 0, limits))


def choose_rule(people: Predictions, calibrate: CalibrationSet) -> tuple[Rule, float]:
    """The best rule on all images, and the gain in AP that its choice on one half brought on the other.

    Returns:
        `Rule()` and 0.0 where there is no such gain.
    """
    truth, skeleton = calibrate.truth, calibrate.skeleton
    halves = [part for part in (half.tolist() for half in calibrate.halves()) if _has_labels(truth, part)]
    if len(halves) < 2:
        return Rule(), 0.0
    rules = [Rule(weight, limit) for weight, limit in product(WEIGHTS, LIMITS)]
    tables = [[_ap(rule.apply(people, skeleton), truth, skeleton, half) for rule in rules] for half in halves]
    choices = [int(np.argmax(table)) for table in tables]  # the first of equal ones, which changes least
    gains = [tables[0][choices[1]] - tables[0][0], tables[1][choices[0]] - tables[1][0]]
    if min(gains) < 0 or max(gains) <= 0:
        return Rule(), 0.0
    return rules[int(np.argmax(np.sum(tables, axis=0)))], float(np.mean(gains))


def _has_labels(truth: GroundTruth, images: Sequence[int]) -> bool:
    chosen = set(images)
    return any(person["image_id"] in chosen and person["num_keypoints"] and not person["iscrowd"]
               for person in truth.people)  # fmt: skip


def _ap(people: Predictions, truth: GroundTruth, skeleton: Skeleton, images: Sequence[int]) -> float:
    chosen = set(images)
    part = {
        "images": [{"id": image_id} for image_id in images],
        "annotations": [{**p, "category_id": 1} for p in truth.people if p["image_id"] in chosen],
        "categories": [{"id": 1, "name": skeleton.category, "keypoints": list(skeleton.names)}],
    }
    inside = np.isin(people.image_ids, list(images))
    return evaluate(part, people.select(inside).rows(1), skeleton).AP


def _without_doubles(people: Predictions, skeleton: Skeleton, limit: float) -> Predictions:
    """Divides the score of someone found before by 100, so that it comes after everyone else."""
    scores = people.scores.copy()
    sigmas = np.asarray(skeleton.sigmas)
    areas = AREA_OF_BOX * np.maximum((people.boxes[:, 2:] - people.boxes[:, :2]).prod(-1), 1.0)
    for image_id in np.unique(people.image_ids):
        rows = np.flatnonzero(people.image_ids == image_id)
        rows = rows[np.argsort(-people.scores[rows], kind="stable")]
        apart = people.keypoints[rows][:, None] - people.keypoints[rows][None]
        pair_areas = np.sqrt(areas[rows][:, None] * areas[rows][None])
        alike = oks_terms(np.hypot(apart[..., 0], apart[..., 1]), pair_areas, sigmas).mean(-1)
        scores[np.delete(rows, distinct_rows(alike >= limit))] /= 100
    return replace(people, scores=scores)
