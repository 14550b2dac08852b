"""What a model gets wrong about poses, measured on predictions with labels; `sampling` draws it again.

The kinds of error are those of Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation"
(ICCV 2017, section 3): jitter, inversion (the keypoint's left/right counterpart), swap (the same keypoint of another
person) and miss. They cut at fixed similarities, which makes a weak model's jitter look like misses and chance like
inversions; here the kinds are the components of a mixture (`mixture`). So what is drawn is measured again,
however large the errors are.

M: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError
from sia.skeletons.skeleton import Skeleton
from stages.error_model.box_frame import to_box
from stages.error_model.labels import LabelledPeople, match_labels
from stages.error_model.logistic import logit
from stages.error_model.mixture import INVERTED, MISSED, SWAPPED, distances_of, fit_mixture, jitter_correlation
from utils.metrics.predictions import Array, Predictions

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


def measure_errors(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> PoseErrors:
    """Matches predictions with labels, by `match_labels`, and measures the errors of those found.

    Raises:
        DataError: too few are found.
    """
    found = match_labels(people, labels, skeleton.sigmas)
    return errors_of_pairs(people.select(found >= 0), labels.select(found[found >= 0]), skeleton)


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
