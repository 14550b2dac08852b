"""Moves keypoints as the prior advises, each kind of keypoint only as far as that helped on the calibrate part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sia.evaluation.labels import Mask
from sia.evaluation.predictions import Array, Predictions
from stages.prior.parts import MatchedLabels, PriorContext, best_choice, choose

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the advised move."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Fractions of a keypoint's predictions, the least confident first, that may be moved."""


@dataclass(frozen=True)
class ShiftGate:
    """What is moved.

    Attributes:
        strength: (K,) fraction of the advised move; 0 for never.
        below: (K,) only keypoints with at most this confidence.
    """

    strength: Array
    below: Array


class Moves:
    """The prior's advice, gated per keypoint."""

    name = "moves"

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        self.advice = scene.advice

    def fit(self, truth: MatchedLabels, rows: Mask) -> ShiftGate:
        """For each keypoint the strength and the confidence with the best mean term of OKS."""
        people, k = self.scene.people, self.scene.skeleton.num_keypoints
        limits = np.quantile(people.confidences[rows], QUANTILES, axis=0)
        limits[-1] = 1.0
        before = truth.terms(people)
        after = [truth.terms(self._moved(np.full(k, strength))) - before for strength in STRENGTHS]
        gate = ShiftGate(np.zeros(k), np.zeros(k))
        for j in range(k):
            gate.strength[j], gate.below[j] = self._best(j, [gain[:, j] for gain in after], limits[:, j], rows)
        return gate

    def _best(self, j: int, gains: list[Array], limits: Array, rows: Mask) -> tuple[float, float]:
        chosen = rows & np.isfinite(gains[0])
        confidences = self.scene.people.confidences[chosen, j]
        choices = [(s, float(limit)) for s in range(len(STRENGTHS)) for limit in limits]
        best = best_choice(choices, lambda c: np.where(confidences <= c[1], gains[c[0]][chosen], 0.0), None)
        return (0.0, 0.0) if best is None else (STRENGTHS[best[0]], best[1])

    def _moved(self, strength: Array) -> Predictions:
        people = self.scene.people
        return replace(people, keypoints=people.keypoints + strength[..., None] * self.advice.moves)

    def worth(self, truth: MatchedLabels) -> dict[str, float]:
        """Mean term of OKS of the people found, percent, by fraction of the advised move that all keypoints go."""
        k, shares = self.scene.skeleton.num_keypoints, (0.0, *STRENGTHS)
        terms = [np.nanmean(truth.terms(self._moved(np.full(k, share)))) for share in shares]
        return {f"{share:g}": round(100 * float(term), 2) for share, term in zip(shares, terms, strict=True)}

    def advised(self) -> Predictions:
        """All people moved all the way, whatever was chosen."""
        return self._moved(np.ones(self.scene.skeleton.num_keypoints))

    def apply(self, fitted: ShiftGate) -> Predictions:
        """Moves, except people whose bones or angles would become worse."""
        people = self.scene.people
        moved = self._moved(np.where(people.confidences <= fitted.below, fitted.strength, 0.0))
        return choose(self.scene.worse(moved), people, moved)

    def describe(self, fitted: ShiftGate) -> dict[str, Any]:
        """Strength and confidence limit of each keypoint that may move."""
        gates = zip(self.scene.skeleton.names, fitted.strength, fitted.below, strict=True)
        return {name: [float(s), round(float(limit), 3)] for name, s, limit in gates if s > 0}
