"""Shares and their logits, and the regression of one on features."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from utils.metrics.predictions import Array

NEAREST = 0.001
"""Shares are kept this far from 0 and from 1, by default."""


def logit(shares: Array, nearest: float = NEAREST) -> Array:
    """Logits of shares, which are kept `nearest` away from 0 and from 1."""
    cut = shares.clip(nearest, 1 - nearest)
    return np.asarray(np.log(cut / (1 - cut)))


def logistic(values: Array) -> Array:
    """Inverse of `logit`, within 1e-13 and 1 - 1e-13."""
    return np.asarray(1 / (1 + np.exp(-values.clip(-30, 30))))


def standardised(features: Array, mean: Array, deviation: Array) -> Array:
    """(..., F) features for a regression, by their (F,) means and standard deviations; cut at 5."""
    return np.asarray(((features - mean) / deviation.clip(min=1e-6)).clip(-5, 5))


def regress(table: Array, wanted: Array, penalty: Array, start: Array | float = 0.0) -> Array:
    """Weights of a logistic regression with a ridge.

    Args:
        table: (N, F) features.
        wanted: (N,) shares in [0, 1].
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
