"""Thresholds for showing people and keypoints, chosen on labelled images; results keep everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, is_labelled
from sia.evaluation.keypoint_scores import match_people
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import Skeleton

CORRECT = 0.5
"""A keypoint is in its place where its own term of OKS is at least this."""


@dataclass(frozen=True)
class DisplayThresholds:
    """What to show.

    Attributes:
        score: people of at least this score are shown,
        precision: and this fraction of them is right (OKS 0.5 or more with a labelled person),
        recall: and this fraction of the labelled people is among them.
        keypoint: of people found, keypoints of at least this confidence are shown,
        keypoint_precision: and this fraction of them is in its place.
        keypoint_recall: and this fraction of those in their place is among them.
    """

    score: float
    precision: float
    recall: float
    keypoint: float
    keypoint_precision: float
    keypoint_recall: float

    def to_dict(self) -> dict[str, float]:
        """Rounded, for a report."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def choose_display_thresholds(people: Predictions, truth: GroundTruth, skeleton: Skeleton) -> DisplayThresholds:
    """The thresholds with the best F1 of people, and of the keypoints of people found.

    A keypoint that the label hasn't is out of the image, or can't be told where: to show it counts as wrong.
    """
    sigmas = np.asarray(skeleton.sigmas)
    right = np.zeros(len(people), dtype=bool)
    confidences, placed = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for row, label in matches(people, truth, skeleton):
        right[row] = True
        labelled = np.asarray(label["keypoints"], dtype=np.float64).reshape(-1, 3)
        known = labelled[:, 2] > 0
        apart = people.keypoints[row] - labelled[:, :2]
        terms = oks_terms(np.hypot(*apart.T), np.asarray(label["area"]), sigmas)
        confidences.append(people.confidences[row])
        placed.append((terms >= CORRECT) & known)
    there = np.concatenate(placed)
    total = sum(map(is_labelled, truth.people))
    first = _best(people.scores, right, total)
    return DisplayThresholds(*first, *_best(np.concatenate(confidences), there, int(there.sum())))


def matches(people: Predictions, truth: GroundTruth, skeleton: Skeleton) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows of predictions with the labelled person that each is, by COCO's greedy matching at OKS 0.5."""
    sigmas = np.asarray(skeleton.sigmas)
    owners: dict[int, list[dict[str, object]]] = {}
    for person in filter(is_labelled, truth.people):
        owners.setdefault(int(person["image_id"]), []).append(person)
    for image_id, labels in owners.items():
        rows = np.flatnonzero(people.image_ids == image_id)
        rows = rows[np.argsort(-people.scores[rows], kind="stable")]
        if not len(rows):
            continue
        points = np.array([label["keypoints"] for label in labels], dtype=np.float64).reshape(len(labels), -1, 3)
        apart = people.keypoints[rows][:, None] - points[None, ..., :2]
        areas = np.array([label["area"] for label in labels], dtype=np.float64)
        terms = oks_terms(np.hypot(apart[..., 0], apart[..., 1]), np.tile(areas, (len(rows), 1)), sigmas)
        known = points[None, ..., 2] > 0
        for detection, label in match_people((terms * known).sum(-1) / known.sum(-1)):
            yield int(rows[detection]), labels[label]


def _best(values: Array, right: NDArray[np.bool_], total: int) -> tuple[float, float, float]:
    """Threshold, precision and recall where F1 is largest; all 0 where nothing is right."""
    if not right.any():
        return 0.0, 0.0, 0.0
    order = np.argsort(-values, kind="stable")
    found = np.cumsum(right[order])
    last = np.append(np.diff(values[order]) < 0, True)  # equal values are shown together
    f1 = np.where(last, 2 * found / (np.arange(1, len(order) + 1) + total), 0)
    best = int(f1.argmax())
    return float(values[order][best]), float(found[best] / (best + 1)), float(found[best] / total)
