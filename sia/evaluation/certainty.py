"""How far to believe what is said of keypoints beside their place: visibility and standard deviation."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, Row, is_labelled
from sia.evaluation.keypoint_scores import match_people
from sia.evaluation.labels import box_overlaps

MATCH_IOU = 0.5
"""Least IoU of the boxes of a match. OKS would leave out whoever has large errors."""

Array = NDArray[np.float64]


class CertaintyScore(NamedTuple):
    """Over the labelled keypoints of the labelled people whose box is found; each takes the best-scored that finds it.

    Attributes:
        visibility_auc: how often, of a visible (v = 2) and an occluded (v = 1) keypoint, the visible one has the higher
            visibility; None where there are not both, or the results don't tell.
        sigma_coverage: fraction of the errors in x that are at most the sigma; None where the results don't tell.
    """

    visibility_auc: float | None
    sigma_coverage: float | None


def score_certainty(truth: GroundTruth, rows: list[Row]) -> CertaintyScore:
    """Compares checked results with the labels."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: -row["score"]):
        if all(name in row for name in ("bbox", "visibilities", "sigmas")):
            found[row["image_id"]].append(row)
    labels: dict[int, list[Row]] = defaultdict(list)
    for person in filter(is_labelled, truth.people):
        labels[person["image_id"]].append(person)
    told = [_compared(row, person) for image in labels for row, person in _matched(found[image], labels[image])]
    if not told:
        return CertaintyScore(None, None)
    flags, visibilities, errors, sigmas = np.concatenate(told, axis=1)
    return CertaintyScore(_auc(visibilities[flags == 2], visibilities[flags == 1]), float((errors <= sigmas).mean()))


def _matched(rows: list[Row], people: list[Row]) -> list[tuple[Row, Row]]:
    """rows: the best first."""
    first, second = (_corners(group) for group in (rows, people))
    return [(rows[i], people[j]) for i, j in match_people(box_overlaps(first, second), MATCH_IOU)]


def _corners(rows: list[Row]) -> Array:
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _compared(row: Row, person: Row) -> Array:
    """(4, L) of the L labelled keypoints: v, visibility, error in x, and sigma."""
    points, labels = (np.reshape(each["keypoints"], (-1, 3)) for each in (row, person))
    told = np.stack([labels[:, 2], row["visibilities"], np.abs(points[:, 0] - labels[:, 0]), row["sigmas"]])
    return np.asarray(told[:, labels[:, 2] > 0])


def _auc(high: Array, low: Array) -> float | None:
    """How often one of `high` is above one of `low`; equal ones count half (Mann & Whitney, 1947)."""
    if not len(high) or not len(low):
        return None
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / (2 * len(low)))
