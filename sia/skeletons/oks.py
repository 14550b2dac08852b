"""Object keypoint similarity on arrays (https://cocodataset.org/#keypoints-eval)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AREA_OF_BOX = 0.53
"""Median area / box area over COCO's people with keypoints; used where only a box is known."""


def oks_terms(distances: Floats, areas: Floats, sigmas: Floats) -> Floats:
    """Each keypoint's own term of OKS (https://cocodataset.org/#keypoints-eval), in [0, 1].

    Args:
        distances: (..., K) pixels.
        areas: (...) pixels squared.
        sigmas: (K,) the data set's constants.
    """
    variances = (2.0 * sigmas) ** 2
    return np.asarray(np.exp(-(distances**2) / (2.0 * variances * (areas[..., None] + np.spacing(1.0)))))
