"""Matrices of correlations that were estimated entry by entry, and may therefore be none."""

from __future__ import annotations

import numpy as np

from utils.metrics.predictions import Array


def mended(matrix: Array, floor: float) -> Array:
    """(K, K) a correlation matrix near this symmetric one; eigenvalues below the floor were raised to it."""
    values, vectors = np.linalg.eigh(matrix)
    positive = (vectors * values.clip(min=floor)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return np.asarray(positive / scale / scale[:, None])
