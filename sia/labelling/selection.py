"""Which images to label next: those the model is unsure of, each unlike the ones chosen before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def select(
    uncertainties: Floats, embeddings: NDArray[np.float32], count: int, labelled: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """Greedy k-centre (Sener & Savarese 2018, Active Learning for CNNs, algorithm 1), weighted by uncertainty.

    Each step takes the image with the largest product of uncertainty and distance to the closest one that is labelled
    or taken already, so a copy of one is never taken while others are left.

    Args:
        uncertainties: (N,) in [0, 1].
        embeddings: (N, D) of length 1.
        count: how many to take, at most N.
        labelled: (L, D) embeddings of images that have labels.

    Returns:
        Rows in the order of taking, and the cosine distance of each at that moment, in [0, 2].
    """
    distances = np.full(len(uncertainties), 1.0)
    if labelled is not None and len(labelled):
        distances = 1.0 - (embeddings @ labelled.T).max(1).astype(np.float64)
    free = np.ones(len(uncertainties), dtype=bool)
    rows, at = [], []
    for _ in range(min(count, len(uncertainties))):
        row = int(np.where(free, uncertainties * distances.clip(min=0), -1.0).argmax())
        rows.append(row)
        at.append(float(distances[row]))
        free[row] = False
        distances = np.minimum(distances, 1.0 - (embeddings @ embeddings[row]).astype(np.float64))
    return np.array(rows, np.int64), np.array(at)
