"""Scores anew how well people are found: the model's score, their confidences, and how plausible their poses are.

After Gu et al., "On the Calibration of Human Pose Estimation" (arXiv 2311.17105): AP depends on how people rank, and a
score that expects the right OKS ranks them best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.logistic import logistic, logit, regress
from stages.pose_labels import Mask
from stages.prior_confidences import Confidences, Recalibration
from stages.prior_parts import Scene, Truth
from utils.predictions import Array, Predictions

RIDGE = 3.0
"""Weight of the squared slopes: as if a few people more had been seen that follow no rule."""


@dataclass(frozen=True)
class Score:
    """A logistic regression of standardised features.

    Attributes:
        confidences: what the mean confidence is made with.
        mean: (F,) of the features.
        deviation: (F,) of the features.
        weights: (F + 1,) intercept and slopes.
    """

    confidences: Recalibration
    mean: Array
    deviation: Array
    weights: Array

    def __call__(self, features: Array) -> Array:
        """(N, F) -> (N,) in (0, 1)."""
        return logistic(_standard(features, self.mean, self.deviation) @ self.weights)


class Rescoring:
    """The expected share of COCO's thresholds that a person passes, by logistic regression."""

    name = "rescoring"
    features = ("score", "surprise", "spread", "size", "broken", "confidence")

    def __init__(self, scene: Scene) -> None:
        self.scene, self.confidences = scene, Confidences(scene)
        people, advice = scene.people, scene.advice
        sizes = (people.boxes[:, 2:] - people.boxes[:, :2]).clip(min=1.0)
        columns = [
            logit(people.scores), advice.surprise, advice.log_spreads.mean(1), np.log(sizes).mean(1),
            np.sqrt(scene.broken),
        ]  # fmt: skip
        self.columns = np.stack(columns, axis=1)

    def _table(self, confidences: Recalibration) -> Array:
        """(N, F) features; the last one is the person's mean confidence, recalibrated."""
        close = logit(self.confidences.values(confidences).mean(1))
        return np.concatenate([self.columns, close[:, None]], axis=1)

    def fit(self, truth: Truth, rows: Mask) -> Score:
        """Regresses `Truth.qualities`."""
        confidences = self.confidences.fit(truth, rows)
        chosen, wanted = self._table(confidences)[rows], truth.qualities(self.scene.people)[rows]
        mean, deviation = chosen.mean(0), chosen.std(0).clip(min=1e-6)
        table = _standard(chosen, mean, deviation)
        weights = regress(table, wanted, np.r_[0.0, np.full(len(mean), RIDGE)])
        return Score(confidences, mean, deviation, weights)

    def apply(self, fitted: Score) -> Predictions:
        """The same people with new scores."""
        return replace(self.scene.people, scores=fitted(self._table(fitted.confidences)))

    def describe(self, fitted: Score) -> dict[str, Any]:
        """Slopes of the standardised features."""
        return {name: round(float(w), 3) for name, w in zip(self.features, fitted.weights[1:], strict=True)}


def _standard(features: Array, mean: Array, deviation: Array) -> Array:
    """(N, 1 + F), with a column of ones before the standardised features."""
    standard = ((features - mean) / deviation).clip(-5, 5)
    return np.concatenate([np.ones((len(standard), 1)), standard], axis=1)
