"""Made-up models for `benchmarks/prior.py`: labels with drawn errors, confidences and scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sia.skeletons.skeleton import Skeleton
from stages.error_model.box_frame import frame_of
from stages.error_model.labels import LabelledPeople, oks_matrix, shared_images
from stages.error_model.pose_errors import PoseErrors
from stages.error_model.sampling import sample_errors
from utils.metrics.predictions import Array, Predictions

LEVELS = {
    "strong": (0.3, 0.03, 0.02, 0.05, 0.01),
    "medium": (0.6, 0.05, 0.03, 0.1, 0.04),
    "weak": (0.9, 0.08, 0.04, 0.2, 0.1),
}
"""Spread of jitter in units of OKS, rates of inversion, swap and miss of each keypoint, and of turned bodies."""

REACH = 4.0
"""Spread of misses, in units of OKS."""


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
    right = sample_errors(errors, labels, skeleton, rng)
    ghosts = labels.select(rng.permutation(len(labels)))
    wrong = sample_errors(replace(errors, missed=np.full(len(errors.missed), 0.6)), ghosts, skeleton, rng)
    shift = rng.normal(0, 0.5, (len(ghosts), 2)) * frame_of(ghosts.boxes)[1][:, 0]
    boxes = np.concatenate([right.boxes, wrong.boxes + np.tile(shift, 2)])
    points = np.concatenate([right.keypoints, wrong.keypoints + shift[:, None]])
    confidences = np.concatenate([right.confidences, wrong.confidences])
    ids = np.concatenate([labels.image_ids, ghosts.image_ids])
    people = Predictions(ids, boxes, np.zeros(len(ids)), points, confidences, np.full(confidences.shape, np.nan))
    people = people.select(np.argsort(ids, kind="stable"))
    return replace(people, scores=_scores(people, labels, skeleton, rng))


def _scores(people: Predictions, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator) -> Array:
    """The best OKS, known only roughly."""
    best = np.zeros(len(people))
    for rows, columns in shared_images(people.image_ids, labels.image_ids):
        group = people.select(rows)
        best[rows] = oks_matrix(group, labels.select(columns), skeleton.sigmas).max(1)
    return 1 / (1 + np.exp(-(4 * (best - 0.5) + rng.normal(0, 1.0, len(best)))))
