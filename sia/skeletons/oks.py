"""Object keypoint similarity on arrays (https://cocodataset.org/#keypoints-eval)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def pairwise_oks_terms(
    points: NDArray[Any], areas: Floats, others: NDArray[Any], other_areas: Floats, sigmas: Sequence[float]
) -> Floats:
    """The terms of OKS between every two people of two groups, with the mean of their areas.

    Args:
        points: (N, K, 2) pixels.
        areas: (N,) pixels squared.
        others: (M, K, 2) pixels.
        other_areas: (M,) pixels squared.
        sigmas: K of them, the data set's constants.

    Returns:
        (N, M, K) in [0, 1]; their mean over K is the OKS.
    """
    distances = np.linalg.norm(points[:, None].astype(np.float64) - others[None], axis=-1)
    return oks_terms(distances, (areas[:, None] + other_areas[None]) / 2, np.array(sigmas))
