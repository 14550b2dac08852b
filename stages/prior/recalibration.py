"""Makes each keypoint's confidence what it should be: the term of OKS to expect, given what the prior thinks of it.

COCO's AP looks at no confidence of a keypoint, but a threshold for showing keypoints does, and so do tracking,
smoothing and words. So its worth is told by the Brier score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.error_model.calibration import variances_of
from stages.error_model.labels import Mask
from stages.error_model.logistic import logistic, logit, regress, standardised
from stages.prior.parts import SURE, MatchedLabels, PriorContext
from utils.metrics.predictions import Array, Predictions

FEATURES = ("level", "confidence", "person", "spread", "gap")

RIDGE = 3.0
"""Weight of the squared slopes, in keypoints that say: leave confidences as they are."""

SHRINK = 20.0
"""The same for what is special about one kind of keypoint."""

BINS = 10
"""Equally filled, of the calibration error."""


@dataclass(frozen=True)
class Recalibration:
    """Old confidence -> new one.

    Attributes:
        mean, deviation: (F,) of the features.
        weights: (F + K,) of the standardised features and of each kind of keypoint; at 0 nothing changes.
    """

    mean: Array
    deviation: Array
    weights: Array

    def __call__(self, logits: Array, features: Array) -> Array:
        """Logits (N, K) of the old confidences and features (N, K, F) -> (N, K) new confidences."""
        slopes, kinds = np.split(self.weights, [len(self.mean)])
        return logistic(logits + standardised(features, self.mean, self.deviation) @ slopes + kinds)


class Confidences:
    """A logistic regression that starts from the old confidence's logit, for all keypoints together."""

    name = "confidences"

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        self.logits = logit(scene.people.confidences)
        person = np.broadcast_to(self.logits.mean(1, keepdims=True), self.logits.shape)
        columns = [np.ones_like(self.logits), self.logits, person, scene.advice.log_spreads,
                   np.log1p(scene.advice.gaps**2)]  # fmt: skip
        self.features = np.stack(columns, axis=-1)

    def fit(self, truth: MatchedLabels, rows: Mask) -> Recalibration:
        """Regresses the terms of OKS of the labelled keypoints of people found."""
        terms = truth.terms(self.scene.people)
        known = np.isfinite(terms) & rows[:, None]
        chosen, kinds = self.features[known], np.eye(terms.shape[1])[np.nonzero(known)[1]]
        mean, deviation = chosen.mean(0), chosen.std(0)
        mean[0], deviation[0] = 0.0, 1.0  # the level stays
        table = np.concatenate([standardised(chosen, mean, deviation), kinds], axis=1)
        penalty = np.r_[np.full(len(mean), RIDGE), np.full(kinds.shape[1], SHRINK)]
        return Recalibration(mean, deviation, regress(table, terms[known], penalty, self.logits[known]))

    def values(self, fitted: Recalibration) -> Array:
        """(N, K) new confidences."""
        return fitted(self.logits, self.features)

    def apply(self, fitted: Recalibration) -> Predictions:
        """The same people with new confidences, and the variances that go with them."""
        people, confidences = self.scene.people, self.values(fitted)
        return replace(
            people, confidences=confidences, variances=variances_of(confidences, people.boxes, self.scene.skeleton)
        )

    def describe(self, fitted: Recalibration) -> dict[str, Any]:
        """Weights of the standardised features, beside the old confidence as it is."""
        return {name: round(float(w), 3) for name, w in zip(FEATURES, fitted.weights, strict=False)}


@dataclass(frozen=True)
class Reliability:
    """How well confidences tell the terms of OKS, before and after.

    Attributes:
        keypoints: labelled ones of people found.
        brier: mean squared differences.
        calibration: calibration errors, the mean distance from 0 of the difference in each of `BINS` bins.
        gain, error: by how much the Brier score falls, and the standard error of that, images resampled.
    """

    keypoints: int
    brier: tuple[float, float]
    calibration: tuple[float, float]
    gain: float
    error: float

    @property
    def is_gain(self) -> bool:
        """Whether the new confidences are surely better."""
        return self.gain > max(SURE * self.error, 1e-6)

    def words(self) -> str:
        """Such as ``Brier score on calibrate 0.152 -> 0.110, calibration error 0.211 -> 0.031``."""
        (brier, new_brier), (error, new_error) = self.brier, self.calibration
        return (
            f"Brier score on calibrate {brier:.3f} -> {new_brier:.3f}, calibration error {error:.3f} -> {new_error:.3f}"
        )


def reliability(before: Predictions, after: Predictions, truth: MatchedLabels) -> Reliability:
    """Compares the confidences of N people, keypoints unchanged, with the truth about them."""
    terms = truth.terms(before)
    known = np.isfinite(terms)
    images = np.unique(before.image_ids, return_inverse=True)[1]
    wrong = [
        np.where(known, (people.confidences - np.nan_to_num(terms)) ** 2, 0.0).sum(1) for people in (before, after)
    ]
    count = max(int(known.sum()), 1)
    falls = np.bincount(images, weights=wrong[0] - wrong[1])
    errors = [calibration_error(people.confidences[known], terms[known]) for people in (before, after)]
    return Reliability(
        int(known.sum()), (float(wrong[0].sum() / count), float(wrong[1].sum() / count)), (errors[0], errors[1]),
        float(falls.sum() / count), float(np.sqrt(len(falls)) * falls.std() / count),
    )  # fmt: skip


def calibration_error(confidences: Array, terms: Array) -> float:
    """Of (P,) confidences and the terms that they expect; equally many in each bin."""
    parts = np.array_split(np.argsort(confidences, kind="stable"), BINS)
    gaps = [len(part) * abs(float((confidences[part] - terms[part]).mean())) for part in parts if len(part)]
    return sum(gaps) / max(len(terms), 1)
