"""What a model gets wrong about poses: measured on predictions with labels, and drawn again for true poses.

The kinds of error are those of Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation"
(ICCV 2017, section 3): jitter, inversion (the keypoint's left/right counterpart), swap (the same keypoint of another
person) and miss. They cut at fixed similarities, as `sia.evaluation.error_kinds` does, which makes a weak model's
jitter look like misses and chance like inversions; here the kinds are the components of a mixture (`mixture`). So what
is drawn is measured again, however large the errors are.

M: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError
from sia.evaluation.labels import LabelledPeople, frame_of, to_box
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.skeleton import Skeleton
from stages.error_model.mixture import INVERTED, MISSED, SWAPPED, distances_of, fit_mixture, jitter_correlation
from stages.error_model.statistics import logistic, logit

FEWEST_PEOPLE = 10
"""Matched people below which nothing can be said about errors."""


@dataclass(frozen=True)
class PoseErrors:
    """Errors of K keypoints.

    Attributes:
        people: how many were measured.
        spread: (K,) standard deviation of x, and of y, of jitter, in units.
        reach: (K,) the same of misses; at least twice the spread.
        inverted, swapped, missed: (K,) rates; where there is no counterpart or other person, jitter takes their place.
        turned: fraction of people with left and right exchanged as a whole.
        correlation: (K, K) of the keypoints' jitter within a person.
        confidence: (K, 3) a, b, s of ``logit(confidence) = a - b log(1 + d^2) + s e``, d the error in units.
        guess: (K, 2, 2) of keypoints that are not labelled: mean and standard deviation of x, and of y, relative to the
            predicted box, ``(keypoint - centre) / longer side``.
        guess_confidence: (K, 2) mean and standard deviation of their logit.
        box: (4, 2) mean and standard deviation of dx / width, dy / height, log width, log height.
    """

    people: int
    spread: Array
    reach: Array
    inverted: Array
    swapped: Array
    missed: Array
    turned: float
    correlation: Array
    confidence: Array
    guess: Array
    guess_confidence: Array
    box: Array

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }


def errors_of_pairs(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> PoseErrors:
    """Measures the errors of predictions whose labels are known: row by row.

    Raises:
        DataError: there are too few.
    """
    if len(people) < FEWEST_PEOPLE:
        raise DataError(
            f"Errors can't be measured: {len(people)} of the labelled people of the calibrate part are found, but "
            f"{FEWEST_PEOPLE} are needed. Train the model longer, or give more images."
        )
    units = labels.units(skeleton.sigmas)
    mixture = fit_mixture(distances_of(people.keypoints, labels, units, skeleton))
    errors = (people.keypoints - labels.keypoints) / units[..., None]
    line, guess_confidence = _measure_confidence(people.confidences, np.linalg.norm(errors, axis=-1), labels.labelled)
    return PoseErrors(
        people=len(people),
        spread=mixture.spread, reach=mixture.reach,
        inverted=mixture.rates[:, INVERTED], swapped=mixture.rates[:, SWAPPED], missed=mixture.rates[:, MISSED],
        turned=mixture.turned,
        correlation=jitter_correlation(errors / mixture.spread[:, None], mixture.near),
        confidence=line, guess=_measure_guesses(people, labels.labelled), guess_confidence=guess_confidence,
        box=_measure_boxes(people.boxes, labels.boxes),
    )  # fmt: skip


def _measure_confidence(confidences: Array, distances: Array, labelled: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The line of `PoseErrors.confidence`, and mean and deviation where nothing is labelled."""
    logits, k = logit(confidences), labelled.shape[1]
    everywhere = _line(np.log1p(distances[labelled] ** 2), logits[labelled]) if labelled.any() else np.zeros(3)
    line, guess = np.tile(everywhere, (k, 1)), np.tile([logits.mean(), logits.std()], (k, 1))
    for j in range(k):
        known = labelled[:, j]
        if known.sum() >= FEWEST_PEOPLE:
            line[j] = _line(np.log1p(distances[known, j] ** 2), logits[known, j])
        if (~known).sum() >= FEWEST_PEOPLE:
            guess[j] = logits[~known, j].mean(), logits[~known, j].std()
    return line, guess


def _line(x: Array, y: Array) -> Array:
    """a, b, s of ``y = a - b x + s e`` by least squares."""
    slope = float(np.cov(x, y)[0, 1] / max(float(x.var(ddof=1)), 1e-9)) if len(x) > 1 else 0.0
    level = float(y.mean() - slope * x.mean())
    return np.array([level, -slope, float((y - level - slope * x).std())])


def _measure_guesses(people: Predictions, labelled: NDArray[np.bool_]) -> Array:
    relative = to_box(people.keypoints, people.boxes)
    guess = np.zeros((labelled.shape[1], 2, 2))
    for j in range(labelled.shape[1]):
        chosen = relative[~labelled[:, j], j]
        chosen = chosen if len(chosen) >= FEWEST_PEOPLE else relative[:, j]
        guess[j] = np.stack([chosen.mean(0), chosen.std(0)], axis=-1)
    return guess


def _measure_boxes(boxes: Array, labels: Array) -> Array:
    size, wanted = (np.maximum(group[:, 2:] - group[:, :2], 1.0) for group in (boxes, labels))
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (labels[:, :2] + labels[:, 2:])) / 2 / wanted
    values = np.concatenate([shift, np.log(size / wanted)], axis=1).clip(-1, 1)
    return np.asarray(np.stack([values.mean(0), values.std(0)], axis=-1))


class CorruptedPoses(NamedTuple):
    """M imagined predictions: boxes (M, 4), keypoints (M, K, 2), confidences (M, K), as in `Predictions`."""

    boxes: Array
    keypoints: Array
    confidences: Array

    def select(self, rows: slice) -> CorruptedPoses:
        """Some of them."""
        return CorruptedPoses(*(column[rows] for column in self))


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
