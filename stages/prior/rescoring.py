"""Scores anew how well people are found: the model's score, their confidences, and how plausible their poses are.

After Gu et al., "On the Calibration of Human Pose Estimation" (arXiv 2311.17105): AP depends on how people rank, and a
score that expects the right OKS ranks them best. A score trained to expect it is hard to beat, so it is the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.error_model.labels import Mask
from stages.error_model.logistic import logistic, logit, regress, standardised
from stages.prior.parts import MatchedLabels, PriorContext
from utils.metrics.predictions import Array, Predictions

RIDGE = 30.0
"""Weight of the squared slopes, in people who say: leave scores as they are."""


@dataclass(frozen=True)
class Score:
    """A logistic regression of standardised features, beside the logit of the old score.

    Attributes:
        mean: (F,) of the features.
        deviation: (F,) of the features.
        weights: (F + 1,) intercept and slopes.
    """

    mean: Array
    deviation: Array
    weights: Array

    def __call__(self, logits: Array, features: Array) -> Array:
        """Old scores' logits (N,) and features (N, F) -> (N,) in (0, 1)."""
        return logistic(logits + _table(features, self.mean, self.deviation) @ self.weights)


class Rescoring:
    """The expected fraction of COCO's thresholds that a person passes, by logistic regression."""

    name = "rescoring"
    features = ("score", "confidence", "surprise", "spread", "size", "broken")

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        people, advice = scene.people, scene.advice
        self.logits = logit(people.scores)
        sizes = (people.boxes[:, 2:] - people.boxes[:, :2]).clip(min=1.0)
        columns = [
            self.logits, logit(people.confidences).mean(1), advice.anomaly_score, advice.log_spreads.mean(1),
            np.log(sizes).mean(1), np.sqrt(scene.broken),
        ]  # fmt: skip
        self.table = np.stack(columns, axis=1)

    def fit(self, truth: MatchedLabels, rows: Mask) -> Score:
        """Regresses `MatchedLabels.qualities`."""
        chosen, wanted = self.table[rows], truth.qualities(self.scene.people)[rows]
        mean, deviation = chosen.mean(0), chosen.std(0).clip(min=1e-6)
        penalty = np.r_[0.0, np.full(len(mean), RIDGE)]
        return Score(mean, deviation, regress(_table(chosen, mean, deviation), wanted, penalty, self.logits[rows]))

    def apply(self, fitted: Score) -> Predictions:
        """The same people with new scores."""
        return replace(self.scene.people, scores=fitted(self.logits, self.table))

    def describe(self, fitted: Score) -> dict[str, Any]:
        """Slopes of the standardised features; the score's is added to 1 for its logit."""
        return {name: round(float(w), 3) for name, w in zip(self.features, fitted.weights[1:], strict=True)}


def _table(features: Array, mean: Array, deviation: Array) -> Array:
    """(N, 1 + F), with a column of ones before the standardised features."""
    columns = standardised(features, mean, deviation)
    return np.concatenate([np.ones((len(columns), 1)), columns], axis=1)
