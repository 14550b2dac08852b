"""Labelled people as arrays, and which predicted person is which of them.

M: labelled people, N: predicted people, K: keypoints. All coordinates are in the pixels of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, is_labelled
from sia.evaluation.keypoint_scores import MATCH_OKS, match_people
from sia.evaluation.predictions import Array, ImageRows, Predictions
from sia.skeletons.oks import oks_terms

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

SAME_BOX = 0.5
"""IoU from which a predicted person is a labelled one, however wrong the keypoints are."""


@dataclass(frozen=True)
class LabelledPeople(ImageRows):
    """M people with at least one labelled keypoint; crowds are left out.

    Attributes:
        image_ids: (M,) int64.
        boxes: (M, 4) x1, y1, x2, y2.
        areas: (M,) annotated, pixels squared, above 0.
        keypoints: (M, K, 2) x, y; meaningless where not labelled.
        labelled: (M, K) bool, v > 0.
        rivals: (M, K, 2) keypoints of the nearest other labelled person of the image; NaN where there is none.
    """

    boxes: Array
    areas: Array
    keypoints: Array
    labelled: Mask
    rivals: Array

    def units(self, sigmas: Sequence[float]) -> Array:
        """(M, K) the standard deviation of each keypoint's term of OKS, ``2 sigma sqrt(area)``, pixels."""
        return 2.0 * np.asarray(sigmas) * np.sqrt(self.areas)[:, None]


def frame_of(boxes: Array) -> tuple[Array, Array]:
    """(M, 1, 2) centres and (M, 1, 1) longer sides of (M, 4) boxes, at least one pixel."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return centres, (boxes[:, 2:] - boxes[:, :2]).max(-1).clip(min=1.0)[:, None, None]


def to_box(points: Array, boxes: Array) -> Array:
    """(M, K, 2) pixels -> relative to the box, where people of all sizes are alike: (point - centre) / longer side."""
    centres, sides = frame_of(boxes)
    return np.asarray((points - centres) / sides)


def labelled_people(truth: GroundTruth) -> LabelledPeople:
    """The people of an annotation file that count for recall."""
    rows = [person for person in truth.people if is_labelled(person) and person["area"] > 0]
    k = len(truth.people[0]["keypoints"]) // 3 if truth.people else 0
    triples = np.array([row["keypoints"] for row in rows], dtype=np.float64).reshape(-1, k, 3)
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    image_ids = np.array([row["image_id"] for row in rows], dtype=np.int64)
    areas = np.array([row["area"] for row in rows], dtype=np.float64)
    return people_from(image_ids, boxes, areas, triples)


def people_from(image_ids: Rows, boxes: Array, areas: Array, triples: Array) -> LabelledPeople:
    """From COCO's numbers: boxes (M, 4) x, y, width, height, and keypoints (M, K, 3) x, y, v."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    points, labelled = triples[..., :2], triples[..., 2] > 0
    known = np.where(labelled[..., None], points, np.nan)
    nearest = _nearest_others(image_ids, corners)
    rivals = np.where((nearest >= 0)[:, None, None], known[nearest], np.nan)
    return LabelledPeople(image_ids, corners, areas, points, labelled, rivals)


def _nearest_others(image_ids: Rows, boxes: Array) -> Rows:
    """(M,) the row of the person of the same image with the nearest box centre; -1 where there is none."""
    order = np.argsort(image_ids, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image_ids[order])) + 1)
    nearest = np.full(len(image_ids), -1, dtype=np.int64)
    for rows in groups:
        if len(rows) > 1:
            centres = (boxes[rows, :2] + boxes[rows, 2:]) / 2
            distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
            np.fill_diagonal(distances, np.inf)
            nearest[rows] = rows[distances.argmin(axis=1)]
    return nearest


def oks_matrix(people: Predictions, labels: LabelledPeople, sigmas: Sequence[float]) -> Array:
    """(N, M) OKS of the people of one image."""
    offsets = people.keypoints[:, None] - labels.keypoints[None]
    terms = oks_terms(np.linalg.norm(offsets, axis=-1), labels.areas[None].repeat(len(people), 0), np.asarray(sigmas))
    known = labels.labelled[None].astype(np.float64)
    return np.asarray((terms * known).sum(-1) / known.sum(-1).clip(min=1))


def box_overlaps(boxes: Array, others: Array) -> Array:
    """(N, 4) and (M, 4) x1, y1, x2, y2 -> (N, M) IoU."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(group[:, 2:] - group[:, :2]).clip(min=0).prod(-1) for group in (boxes, others)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9))


def distinct_rows(alike: Mask) -> list[int]:
    """Rows of people, best first, without those who are like a better one that stays; (N, N) who is like whom."""
    kept: list[int] = []
    for row in range(len(alike)):
        if not alike[row, kept].any():
            kept.append(row)
    return kept


def match_labels(people: Predictions, labels: LabelledPeople, sigmas: Sequence[float]) -> Rows:
    """Which labelled person each predicted one is, best score first, each at most once.

    Similar enough are an OKS of 0.5 or a box IoU of 0.5: by OKS alone, whoever has large errors would not be counted,
    and errors would seem smaller than they are.

    Returns:
        (N,) rows of `labels`, -1 for nobody.
    """
    found = np.full(len(people), -1, dtype=np.int64)
    for rows, columns in shared_images(people.image_ids, labels.image_ids):
        rows = rows[np.argsort(-people.scores[rows], kind="stable")]
        group, known = people.select(rows), labels.select(columns)
        oks = oks_matrix(group, known, sigmas)
        likeness = np.maximum(oks / MATCH_OKS, box_overlaps(group.boxes, known.boxes) / SAME_BOX)
        for row, column in match_people(likeness, 1.0):
            found[rows[row]] = columns[column]
    return found


def qualities(people: Predictions, labels: LabelledPeople, sigmas: Sequence[float]) -> Array:
    """(N,) fraction of COCO's ten thresholds, OKS 0.50:0.05:0.95, at which the person is a true positive."""
    quality = np.zeros(len(people))
    for rows, columns in shared_images(people.image_ids, labels.image_ids):
        rows = rows[np.argsort(-people.scores[rows], kind="stable")]
        oks = oks_matrix(people.select(rows), labels.select(columns), sigmas)
        for threshold in np.linspace(0.5, 0.95, 10):
            for row, _ in match_people(oks, float(threshold)):
                quality[rows[row]] += 0.1
    return quality


def shared_images(ids: Rows, other_ids: Rows) -> list[tuple[Rows, Rows]]:
    """Rows of both sets for every image that both have, in the order of the image ids."""
    groups, others = _by_image(ids), _by_image(other_ids)
    return [(groups[key], others[key]) for key in groups if key in others]


def _by_image(ids: Rows) -> dict[int, Rows]:
    if not len(ids):  # np.split has one part, however few rows there are
        return {}
    order = np.argsort(ids, kind="stable")
    values, starts = np.unique(ids[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))
