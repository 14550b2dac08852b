"""The teacher's opinion as labels: people who passed the gates, and regions of which nobody is sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datasets.labels import Labels
from sia.evaluation.labels import box_overlaps
from stages.ssl.teacher import TeacherPrediction
from stages.ssl.thresholds import SAME_BOX, Gates

LEAST_JOINTS = 0.25
"""Fraction of its joints that a person must have through the gate."""

Mask = NDArray[np.bool_]


def pseudo_labels(opinion: TeacherPrediction, thresholds: Gates, known: Labels | None = None) -> Labels:
    """Labels of one image, in its pixels.

    Without known labels: who passes is a person, of whom the joints that pass are labelled. Others whose score is at
    least `Gates.doubt` become ignored regions, unless they are another view of somebody who passed. With known labels
    these stay, and only their people without keypoints get some.

    Args:
        opinion: of the teacher.
        thresholds: what it must pass.
        known: labels of the image where it is partly labelled.
    """
    trusted, joints = passing(opinion, thresholds)
    people = Labels(
        boxes=opinion.boxes[trusted].astype(np.float32),
        keypoints=_labelled(opinion, joints)[trusted],
        areas=opinion.areas[trusted].astype(np.float32),
        ignored=opinion.boxes[_doubtful(opinion, trusted, thresholds)].astype(np.float32),
    )
    return people if known is None else _completed(known, people)


def passing(opinion: TeacherPrediction, thresholds: Gates) -> tuple[Mask, Mask]:
    """(N,) people and (N, K) joints that pass; a person with too few joints doesn't."""
    joints = thresholds.joint(opinion.confidences, opinion.joint_agreement)
    people = thresholds.person(opinion.scores, opinion.agreement) & (joints.mean(axis=1) >= LEAST_JOINTS)
    return people, joints & people[:, None]


def _labelled(opinion: TeacherPrediction, joints: Mask) -> NDArray[np.float32]:
    """(N, K, 3) x, y, v; zeros where a joint doesn't pass."""
    marked = np.concatenate([opinion.keypoints, np.full((*joints.shape, 1), 2.0)], axis=-1)
    return np.where(joints[..., None], marked, 0).astype(np.float32)


def _doubtful(opinion: TeacherPrediction, trusted: Mask, thresholds: Gates) -> Mask:
    """(N,) who is neither trusted nor background."""
    same = (box_overlaps(opinion.boxes, opinion.boxes[trusted]) >= SAME_BOX).any(axis=1)
    return np.asarray((opinion.scores >= thresholds.doubt) & ~trusted & ~same)


def _completed(known: Labels, people: Labels) -> Labels:
    """The known labels; who has no keypoints takes those of the pseudo-label in the same place."""
    keypoints = known.keypoints.copy()
    bare = np.flatnonzero(~(keypoints[..., 2] > 0).any(axis=1))
    overlap = box_overlaps(known.boxes[bare].astype(np.float64), people.boxes.astype(np.float64))
    while overlap.size and overlap.max() >= SAME_BOX:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        keypoints[bare[row]] = people.keypoints[column]
        overlap[row], overlap[:, column] = 0, 0
    return replace(known, keypoints=keypoints)
