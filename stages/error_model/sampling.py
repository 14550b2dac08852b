"""Imagined predictions: true poses, corrupted as a measured model would have corrupted them.

M: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.skeletons.skeleton import Skeleton
from stages.error_model.box_frame import frame_of
from stages.error_model.labels import LabelledPeople
from stages.error_model.logistic import logistic
from stages.error_model.pose_errors import PoseErrors
from utils.metrics.predictions import Array


class CorruptedPoses(NamedTuple):
    """M imagined predictions: boxes (M, 4), keypoints (M, K, 2), confidences (M, K), as in `Predictions`."""

    boxes: Array
    keypoints: Array
    confidences: Array


def sample_errors(
    errors: PoseErrors, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator
) -> CorruptedPoses:
    """Predictions as the measured model might have made them."""
    units = labels.units(skeleton.sigmas)
    boxes = _draw_boxes(errors, labels.boxes, rng)
    targets, width = _draw_targets(errors, labels, skeleton, rng)
    factor = np.linalg.cholesky(errors.correlation)
    noise = np.einsum("kl,mlc->mkc", factor, rng.standard_normal(targets.shape))
    points = targets + noise * (width * units)[..., None]
    centres, sides = frame_of(boxes)
    guesses = errors.guess[..., 0] + errors.guess[..., 1] * rng.standard_normal(points.shape)
    points = np.where(labels.labelled[..., None], points, centres + sides * guesses)
    distances = np.linalg.norm(points - labels.keypoints, axis=-1) / units
    return CorruptedPoses(boxes, points, _draw_confidences(errors, distances, labels.labelled, rng))


def _draw_boxes(errors: PoseErrors, labels: Array, rng: np.random.Generator) -> Array:
    values = errors.box[:, 0] + errors.box[:, 1] * rng.standard_normal((len(labels), 4))
    size = labels[:, 2:] - labels[:, :2]
    centres = (labels[:, :2] + labels[:, 2:]) / 2 + values[:, :2] * size
    half = size * np.exp(values[:, 2:]) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _draw_targets(
    errors: PoseErrors, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator
) -> tuple[Array, Array]:
    """What each keypoint is aimed at (M, K, 2), and how far it scatters around it (M, K), in units."""
    order, k = skeleton.flip_order, len(skeleton.names)
    own = np.where(labels.labelled[..., None], labels.keypoints, np.nan)
    turned = rng.random(len(labels)) < errors.turned
    aim = np.where((turned[:, None] & np.isfinite(own[:, order, 0]))[..., None], own[:, order], own)
    counterpart = np.where((turned[:, None] & np.isfinite(own[:, order, 0]))[..., None], own, own[:, order])
    draw = rng.random((len(labels), k))
    bounds = np.cumsum(np.stack([errors.inverted, errors.swapped, errors.missed], axis=-1), axis=-1)
    inverted = (draw < bounds[:, 0]) & np.isfinite(counterpart[..., 0]) & (np.array(order) != np.arange(k))
    swapped = (draw >= bounds[:, 0]) & (draw < bounds[:, 1]) & np.isfinite(labels.rivals[..., 0])
    missed = (draw >= bounds[:, 1]) & (draw < bounds[:, 2])
    targets = np.where(inverted[..., None], counterpart, np.where(swapped[..., None], labels.rivals, aim))
    return np.nan_to_num(targets), np.where(missed, errors.reach, errors.spread)


def _draw_confidences(
    errors: PoseErrors, distances: Array, labelled: NDArray[np.bool_], rng: np.random.Generator
) -> Array:
    level, slope, scatter = errors.confidence.T
    noise = rng.standard_normal(distances.shape)
    known = level - slope * np.log1p(distances**2) + scatter * noise
    unknown = errors.guess_confidence[:, 0] + errors.guess_confidence[:, 1] * noise
    return logistic(np.where(labelled, known, unknown))
