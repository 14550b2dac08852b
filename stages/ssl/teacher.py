"""What the teacher says of an image, and of another view of it: the same people twice, where it is sure of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.batch import PoseBatch
from sia.evaluation.keypoint_scores import match_people
from sia.evaluation.labels import box_overlaps, distinct_rows
from sia.evaluation.predictions import Array
from sia.people import People
from sia.runtimes.runtime import Decoded, Find
from sia.skeletons.oks import AREA_OF_BOX, pairwise_oks_terms
from sia.skeletons.skeleton import Skeleton

SHIFT = 8
"""Input pixels by which the second view is moved to the right where nothing may be mirrored."""
SAME_PERSON = 0.1
"""Least OKS of two findings that may be one person; whether they agree is for the gates to say."""

DOUBLE_OKS, DOUBLE_BOX = 0.5, 0.7
"""OKS, or IoU of the boxes, from which on two findings in one image are taken for one person.

Taught as two people, they teach the student to find each twice, and the next teacher finds more of them: after
300 steps on synthetic people 8.5 findings an image passed the gates, 7.6 of them doubles, and AP had halved.
"""


@dataclass(frozen=True)
class TeacherPrediction:
    """N candidates of one image, best score first, in its pixels; means of both views where both have them.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,) in [0, 1].
        keypoints: (N, K, 2).
        confidences: (N, K) in [0, 1].
        agreement: (N,) OKS between the two views; 0 where only one has the person.
        joint_agreement: (N, K) the terms of it.
    """

    boxes: Array
    scores: Array
    keypoints: Array
    confidences: Array
    agreement: Array
    joint_agreement: Array

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def areas(self) -> Array:
        """(N,) pixels squared that each probably covers."""
        return box_areas(self.boxes)


def box_areas(boxes: Array) -> Array:
    """(N, 4) boxes -> (N,) what a person in such a box covers, in pixels squared."""
    return np.asarray(AREA_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def ask(find: Find, images: Tensor, letterboxes: Tensor, sizes: Tensor, skeleton: Skeleton) -> list[TeacherPrediction]:
    """One forward pass over the images and their mirror images; moved images where nothing may be mirrored.

    Args:
        find: the teacher, in inference mode.
        images: (B, 3, H, W) uint8, letterboxed.
        letterboxes: (B, 3).
        sizes: (B, 2) height and width of the images.
        skeleton: for left and right, and for OKS.
    """
    other = images.flip(-1) if skeleton.mirrors else images.roll(SHIFT, -1)
    both = find(torch.cat([images, other]).numpy())[:3]
    first, second = (Decoded(*parts) for parts in zip(*(np.split(part, 2) for part in both), strict=True))
    back = mirror(second, images.shape[-1], skeleton) if skeleton.mirrors else moved(second, -SHIFT)
    plain, again = (view.to_original(letterboxes.numpy(), sizes.numpy()) for view in (first, back))
    return [distinct(compare(a, b, skeleton), skeleton) for a, b in zip(plain, again, strict=True)]


def ask_all(find: Find, batches: Iterable[PoseBatch], skeleton: Skeleton) -> list[TeacherPrediction]:
    """`ask` about every image of a validation loader, in its order."""
    return [
        opinion for batch in batches for opinion in ask(find, batch.images, batch.letterboxes, batch.sizes, skeleton)
    ]


def mirror(found: Decoded, width: int, skeleton: Skeleton) -> Decoded:
    """People of a mirror image -> people of the image, left and right swapped; the width is in input pixels."""
    order = skeleton.flip_order
    x1, y1, x2, y2 = np.moveaxis(found.boxes, -1, 0)
    keypoints = found.keypoints[:, :, order]
    keypoints[..., 0] = width - keypoints[..., 0]
    return Decoded(found.scores, np.stack([width - x2, y1, width - x1, y2], axis=-1), keypoints)


def moved(found: Decoded, x: float) -> Decoded:
    """Everything moved to the right by some input pixels."""
    along_x, shift = np.array([x, 0, x, 0], np.float32), np.array([x, 0, 0], np.float32)
    return found._replace(boxes=found.boxes + along_x, keypoints=found.keypoints + shift)


def compare(plain: People, mirrored: People, skeleton: Skeleton) -> TeacherPrediction:
    """Pairs the people of both views by OKS, the best score first, and averages each pair."""
    boxes, scores, points, trust = (np.asarray(part, np.float64) for part in _parts(plain))
    other_boxes, other_scores, other_points, other_trust = (np.asarray(part, np.float64) for part in _parts(mirrored))
    terms = pairwise_oks_terms(points, box_areas(boxes), other_points, box_areas(other_boxes), skeleton.sigmas)
    pairs = match_people(terms.mean(-1), SAME_PERSON) if len(scores) and len(other_scores) else []
    rows, columns = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    joint_agreement = np.zeros(points.shape[:2])
    joint_agreement[rows] = terms[rows, columns]
    weight, other = trust[rows] + 1e-6, other_trust[columns] + 1e-6
    points[rows] = (points[rows] * weight[..., None] + other_points[columns] * other[..., None]) / (weight + other)[
        ..., None
    ]
    for mine, theirs in ((boxes, other_boxes), (scores, other_scores), (trust, other_trust)):
        mine[rows] = (mine[rows] + theirs[columns]) / 2
    order = np.argsort(-scores, kind="stable")
    agreement = joint_agreement.mean(-1)
    return TeacherPrediction(*(part[order] for part in (boxes, scores, points, trust, agreement, joint_agreement)))


def distinct(opinion: TeacherPrediction, skeleton: Skeleton) -> TeacherPrediction:
    """Without those who are found twice: of each person the best finding stays."""
    points, areas = opinion.keypoints, opinion.areas
    likeness = pairwise_oks_terms(points, areas, points, areas, skeleton.sigmas).mean(-1)
    same = (likeness >= DOUBLE_OKS) | (box_overlaps(opinion.boxes, opinion.boxes) >= DOUBLE_BOX)
    kept = distinct_rows(same)
    return TeacherPrediction(*(getattr(opinion, entry.name)[kept] for entry in fields(opinion)))


def _parts(people: People) -> tuple[NDArray[np.float32], ...]:
    return people.boxes, people.scores, people.keypoints, people.confidences
