"""What the networks that restore poses see: poses relative to their boxes, and in training turned at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sia.evaluation.labels import LabelledPeople, frame_of, to_box
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton
from stages.error_model.pose_errors import CorruptedPoses
from stages.error_model.statistics import logit

TILT = 15.0
"""Standard deviation of the rotation of training poses, degrees."""


@dataclass(frozen=True)
class ConfidenceScale:
    """Mean and standard deviation (K,) of the logits of confidences: what the prior sees is standardised."""

    mean: Array
    deviation: Array

    def __call__(self, confidences: Array) -> Array:
        """(N, K) confidences -> (N, K) within -3 and 3."""
        return np.asarray(((logit(confidences) - self.mean) / self.deviation).clip(-3, 3))


def confidence_scale(people: Predictions) -> ConfidenceScale:
    """Of some predictions; a confidence that never changes says nothing, and becomes 0."""
    logits = logit(people.confidences)
    return ConfidenceScale(logits.mean(0), logits.std(0).clip(min=0.1))


def network_input(people: CorruptedPoses, scale: ConfidenceScale, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """(N, K, 3) poses and (N, K) units relative to the boxes, float32; the person's area is guessed from the box."""
    relative = to_box(people.keypoints, people.boxes)
    poses = np.concatenate([relative, scale(people.confidences)[..., None]], axis=-1)
    size = (people.boxes[:, 2:] - people.boxes[:, :2]).clip(min=1.0)
    areas = AREA_OF_BOX * size.prod(-1) / size.max(-1) ** 2
    units = 2 * np.asarray(skeleton.sigmas) * np.sqrt(areas)[:, None]
    return torch.from_numpy(poses).float(), torch.from_numpy(units).float()


def augment(people: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator) -> LabelledPeople:
    """Half of them mirrored, left and right exchanged, and all tilted, about the centres of their boxes."""
    return turn_people(people, draw_turns(len(people), skeleton, rng), skeleton)


def draw_turns(count: int, skeleton: Skeleton, rng: np.random.Generator) -> Array:
    """(count, 2, 2) rotations; half of them mirror, too, where it is known which keypoints trade places then."""
    angles = np.radians(rng.normal(0, TILT, count))
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], -1).reshape(-1, 2, 2)
    mirrored = rng.random(count) < (0.5 if skeleton.mirrors else 0.0)
    return np.where(mirrored[:, None, None], -turn * [[1.0], [-1.0]], turn)  # negates x


def turn_people(people: LabelledPeople, turns: Array, skeleton: Skeleton) -> LabelledPeople:
    """Turned about the centres of their boxes; where a turn mirrors, left and right are exchanged."""
    centres, _ = frame_of(people.boxes)
    order = np.where(np.linalg.det(turns)[:, None] < 0, skeleton.flip_order, np.arange(skeleton.num_keypoints))
    rows = np.arange(len(people))[:, None]

    def moved(points: Array) -> Array:
        return np.asarray(np.einsum("mij,mkj->mki", turns, points[rows, order] - centres) + centres)

    return replace(
        people, keypoints=moved(people.keypoints), rivals=moved(people.rivals), labelled=people.labelled[rows, order]
    )
