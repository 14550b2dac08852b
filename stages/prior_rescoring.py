"""Scores anew how well people are found: the model's score, their confidences, and how plausible their poses are.

After Gu et al., "On the Calibration of Human Pose Estimation" (arXiv 2311.17105): AP depends on how people rank, and a
score that expects the right OKS ranks them best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from stages.pose_errors import logit
from stages.pose_labels import Mask
from stages.prior_parts import Scene, Truth
from utils.predictions import Array, Predictions

RIDGE = 3.0
"""Weight of the squared slopes: as if a few people more had been seen that follow no rule."""


@dataclass(frozen=True)
class Score:
    """A logistic regression of standardised features.

    Attributes:
        mean: (F,) of the features.
        deviation: (F,) of the features.
        weights: (F + 1,) intercept and slopes.
    """

    mean: Array
    deviation: Array
    weights: Array

    def __call__(self, features: Array) -> Array:
        """(N, F) -> (N,) in (0, 1)."""
        return np.asarray(1 / (1 + np.exp(-(_table(features, self.mean, self.deviation) @ self.weights))))


class Rescoring:
    """The expected share of COCO's thresholds that a person passes, by logistic regression."""

    name = "rescoring"
    features = ("score", "confidence", "surprise", "spread", "size", "broken")

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        people, advice = scene.people, scene.advise(scene.people)
        sizes = (people.boxes[:, 2:] - people.boxes[:, :2]).clip(min=1.0)
        columns = [
            logit(people.scores), logit(people.confidences).mean(1), advice.surprise, advice.log_spreads.mean(1),
            np.log(sizes).mean(1), np.sqrt(scene.broken),
        ]  # fmt: skip
        self.table = np.stack(columns, axis=1)

    def fit(self, truth: Truth, rows: Mask) -> Score:
        """Regresses `Truth.qualities`."""
        chosen, wanted = self.table[rows], truth.qualities(self.scene.people)[rows]
        mean, deviation = chosen.mean(0), chosen.std(0).clip(min=1e-6)
        return Score(mean, deviation, _regress(_table(chosen, mean, deviation), wanted))

    def apply(self, fitted: Score) -> Predictions:
        """The same people with new scores."""
        return replace(self.scene.people, scores=fitted(self.table))

    def describe(self, fitted: Score) -> dict[str, Any]:
        """Slopes of the standardised features."""
        return {name: round(float(w), 3) for name, w in zip(self.features, fitted.weights[1:], strict=True)}


def _table(features: Array, mean: Array, deviation: Array) -> Array:
    standard = ((features - mean) / deviation).clip(-5, 5)
    return np.concatenate([np.ones((len(standard), 1)), standard], axis=1)


def _regress(table: Array, wanted: Array) -> Array:
    """Weights of a logistic regression with a ridge; targets are shares."""
    penalty = np.r_[0.0, np.full(table.shape[1] - 1, RIDGE)]

    def loss(weights: Array) -> tuple[float, Array]:
        values = table @ weights
        error = 1 / (1 + np.exp(-values.clip(-30, 30))) - wanted
        total = (np.logaddexp(0, values) - wanted * values).sum() + (penalty * weights**2).sum() / 2
        return float(total), table.T @ error + penalty * weights

    return np.asarray(minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x)
