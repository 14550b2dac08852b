"""Object keypoint similarity on tensors (https://cocodataset.org/#keypoints-eval)."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_AREA = 1e-6
"""Floor of a person's area, in units of the longer input side squared: keeps padded rows finite."""


def keypoint_similarity(squared_distance: Tensor, areas: Tensor, sigmas: Tensor) -> Tensor:
    """Each keypoint's own term of OKS.

    Args:
        squared_distance: (..., K) in any unit.
        areas: (...) in that unit squared.
        sigmas: (K,) the dataset's constants.

    Returns:
        (..., K) in [0, 1].
    """
    spread = 2 * areas.clamp(min=SMALLEST_AREA)[..., None] * (2 * sigmas).square()
    return torch.exp(-squared_distance / spread)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis of the entries under the mask; 0 where there are none."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)
