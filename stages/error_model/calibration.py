"""What the numbers of a model are worth, measured on images with labels that it was not trained on.

N: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)`` pixels;
as nobody knows a person's area beforehand, it is taken from the predicted box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sia.evaluation.labels import LabelledPeople, match_labels, qualities
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton
from stages.error_model.statistics import logistic, logit, nearest_correlation, regress

ROUNDS = 30
LEAST_SCORE = 1e-4
"""Lower scores are taken for this."""
SHRINK = 20.0
"""How many keypoints' worth of evidence each kind of keypoint needs to differ from the others."""
FARTHEST = 9.0
"""Squared errors count at most this many variances: somebody else's limb tells nothing about precision."""
FEWEST = 30
"""Keypoints to measure on; with fewer, the prior is all there is."""


def units_of(boxes: Array, skeleton: Skeleton) -> Array:
    """(N, K) the unit of each keypoint of people with these (N, 4) boxes, pixels."""
    areas = AREA_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).clip(min=1.0).prod(-1)
    return np.asarray(2 * np.asarray(skeleton.sigmas) * np.sqrt(areas)[:, None])


def variances_of(confidences: Array, boxes: Array, skeleton: Skeleton) -> Array:
    """(N, K) pixels^2: Gaussian errors of x, and of y, at which these (N, K) confidences are the expected terms of OKS.

    With variance v the expected term is ``1 / (1 + v / unit^2)``, which is what a fusion hands on as confidence.
    """
    return np.asarray((1 / confidences.clip(1e-3, 1 - 1e-3) - 1) * units_of(boxes, skeleton) ** 2)


@dataclass(frozen=True)
class ScoreCurve:
    """Score -> the fraction of COCO's OKS thresholds at which such a person is right.

    Logistic regression on the score's logit (Platt, 1999): two numbers to learn, so that a hundred images will do;
    isotonic regression has more to learn.

    Attributes:
        slope: at least 0, so that the order stays.
        level: of the logit.
    """

    slope: float = 1.0
    level: float = 0.0

    @classmethod
    def fit(cls, people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> ScoreCurve:
        """From a model's people in labelled images."""
        x = np.stack([logit(people.scores, LEAST_SCORE), np.ones(len(people))], axis=-1)
        y = qualities(people, labels, skeleton.sigmas)
        steeper, higher = regress(x, y, np.array([1.0, 0.01]), start=x[:, 0])
        return cls(max(1 + float(steeper), 1e-3), float(higher))

    def apply(self, scores: Array) -> Array:
        """(N,) -> (N,) in (0, 1)."""
        return logistic(self.slope * logit(scores, LEAST_SCORE) + self.level)


@dataclass(frozen=True)
class VarianceModel:
    """Expected squared error per axis from the kind of keypoint, its confidence (or its variance) and the size.

    A log-linear model of exponentially distributed squared errors (those of a Gaussian in the plane), by Fisher
    scoring: McCullagh and Nelder, Generalized Linear Models (1989), section 8.

    Attributes:
        weights: (K + 3,) of each kind, of everything, of the confidence and of the size.
    """

    weights: Array

    @classmethod
    def fit(cls, people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> VarianceModel:
        """From a model's people in labelled images, as far as they are somebody."""
        found = match_labels(people, labels, skeleton.sigmas)
        people, labels = people.select(found >= 0), labels.select(found[found >= 0])
        known = labels.labelled & np.isfinite(people.keypoints).all(-1)
        offsets = (people.keypoints - labels.keypoints) / units_of(people.boxes, skeleton)[..., None]
        return cls(_fisher_scoring(_features(people, skeleton)[known], (offsets[known] ** 2).mean(-1)))

    def apply(self, people: Predictions, skeleton: Skeleton) -> Predictions:
        """The same people with variances in pixels^2."""
        logs = _features(people, skeleton) @ self.weights
        variances = np.exp(logs.clip(-12, 12)) * units_of(people.boxes, skeleton) ** 2
        return replace(people, variances=variances)


def _features(people: Predictions, skeleton: Skeleton) -> Array:
    """(N, K, K + 3)."""
    n, k = people.confidences.shape
    units = units_of(people.boxes, skeleton)
    given = np.log(people.variances.clip(min=1e-9) / units**2)
    trust = np.where(np.isfinite(given), given, logit(people.confidences.clip(0.01, 0.99)))
    size = np.log(units.mean(-1, keepdims=True)).repeat(k, 1) if n else np.zeros((0, k))
    kinds = np.broadcast_to(np.eye(k), (n, k, k))
    return np.concatenate([kinds, np.stack([np.ones((n, k)), trust, size], axis=-1)], axis=-1)


def _fisher_scoring(features: Array, squares: Array) -> Array:
    count = features.shape[1]
    weights = np.zeros(count)
    if len(squares) < FEWEST:
        return weights
    weights[-3] = np.log(np.median(squares) / np.log(2) + 1e-9)  # the median of an exponential distribution
    penalty = np.diag([SHRINK] * (count - 3) + [1e-3, 1.0, 1.0])
    information = features.T @ features + penalty
    for _ in range(ROUNDS):
        ratio = np.minimum(squares * np.exp(-(features @ weights).clip(-12, 12)), FARTHEST)
        weights = weights + np.linalg.solve(information, features.T @ (ratio - 1) - penalty @ weights)
    return weights


@dataclass(frozen=True)
class Calibration:
    """What one member's numbers are worth."""

    curve: ScoreCurve
    precision: VarianceModel

    @classmethod
    def fit(cls, people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> Calibration:
        """From a model's people in labelled images that it was not trained on."""
        return cls(ScoreCurve.fit(people, labels, skeleton), VarianceModel.fit(people, labels, skeleton))

    def apply(self, people: Predictions, skeleton: Skeleton) -> Predictions:
        """The same people with calibrated scores, and variances in pixels^2."""
        return replace(self.precision.apply(people, skeleton), scores=self.curve.apply(people.scores))


def error_correlation(members: Sequence[Predictions], labels: LabelledPeople, skeleton: Skeleton) -> Array:
    """(M, M) how alike the errors of M members are, each in its own standard deviation; positive definite.

    Views of one model err alike, so ten of them are not worth ten models.

    Args:
        members: calibrated.
        labels: of the same images.
        skeleton: for matching.
    """
    errors = np.stack([_standard_errors(people, labels, skeleton) for people in members])
    known = np.isfinite(errors)
    values = np.where(known, errors, 0.0)
    energies = (values**2) @ known.T
    raw = (values @ values.T + 0.5 * SHRINK) / (np.sqrt(energies * energies.T) + SHRINK)
    np.fill_diagonal(raw, 1.0)
    return nearest_correlation(raw, floor=0.05)


def _standard_errors(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> Array:
    """(labelled people * K * 2,) errors in standard deviations, cut at 3; NaN where unlabelled or not found."""
    errors = np.full((len(labels), skeleton.num_keypoints, 2), np.nan)
    found = match_labels(people, labels, skeleton.sigmas)
    rows = np.flatnonzero(found >= 0)
    offsets = people.keypoints[rows] - labels.keypoints[found[rows]]
    scaled = (offsets / np.sqrt(people.variances[rows])[..., None]).clip(-3, 3)
    errors[found[rows]] = np.where(labels.labelled[found[rows], :, None], scaled, np.nan)
    return errors.ravel()
