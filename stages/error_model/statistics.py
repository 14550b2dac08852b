"""Fractions and their logits, the regression of one on features, and matrices of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from sia.evaluation.predictions import Array

NEAREST = 0.001
"""Fractions are kept this far from 0 and from 1, by default."""

CUT = 5.0
"""Standardised features are cut here."""


def logit(fractions: Array, nearest: float = NEAREST) -> Array:
    """Logits of fractions, which are kept `nearest` away from 0 and from 1."""
    cut = fractions.clip(nearest, 1 - nearest)
    return np.asarray(np.log(cut / (1 - cut)))


def logistic(values: Array) -> Array:
    """Inverse of `logit`, within 1e-13 and 1 - 1e-13."""
    return np.asarray(1 / (1 + np.exp(-values.clip(-30, 30))))


def regress(table: Array, wanted: Array, penalty: Array, start: Array | float = 0.0) -> Array:
    """Weights of a logistic regression with a ridge.

    Args:
        table: (N, F) features.
        wanted: (N,) fractions in [0, 1].
        penalty: (F,) of the squared weights, as if so many rows more had been seen that follow no rule.
        start: (N,) logits where all weights are 0.

    Returns:
        (F,) such that ``logistic(start + table @ weights)`` is nearest to what is wanted.
    """

    def loss(weights: Array) -> tuple[float, Array]:
        values = start + table @ weights
        total = (np.logaddexp(0, values) - wanted * values).sum() + (penalty * weights**2).sum() / 2
        return float(total), table.T @ (logistic(values) - wanted) + penalty * weights

    return np.asarray(minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x)


@dataclass(frozen=True)
class LogisticRegression:
    """Expected fractions from F features, beside logits that are right where all weights are 0.

    Attributes:
        mean, deviation: (F,) of the features, which are standardised by them.
        weights: (F,) of the standardised features.
    """

    mean: Array
    deviation: Array
    weights: Array

    @classmethod
    def fit(
        cls, features: Array, wanted: Array, penalty: Array, start: Array, plain: Sequence[int]
    ) -> LogisticRegression:
        """Regresses (N,) fractions on (N, F) features; see `regress`.

        Args:
            features: of which the columns `plain` stay as they are.
            wanted: fractions in [0, 1].
            penalty: (F,).
            start: (N,) logits.
            plain: columns that are not standardised.
        """
        mean, deviation = features.mean(0), features.std(0).clip(min=1e-6)
        mean[list(plain)], deviation[list(plain)] = 0.0, 1.0
        scaled = cls(mean, deviation, np.zeros(len(mean)))
        return replace(scaled, weights=regress(scaled._table(features), wanted, penalty, start))

    def __call__(self, start: Array, features: Array) -> Array:
        """Logits (...) and features (..., F) -> (...) fractions."""
        return logistic(start + self._table(features) @ self.weights)

    def _table(self, features: Array) -> Array:
        return np.asarray(((features - self.mean) / self.deviation).clip(-CUT, CUT))


def nearest_correlation(matrix: Array, floor: float) -> Array:
    """(K, K) a correlation matrix near this symmetric one; eigenvalues below the floor were raised to it."""
    values, vectors = np.linalg.eigh(matrix)
    positive = (vectors * values.clip(min=floor)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return np.asarray(positive / scale / scale[:, None])
