"""A batch for the model: letterboxed images and the labels of their people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class PoseBatch:
    """B letterboxed images of one size with up to P people each; P and R may be 0.

    Attributes:
        images: (B, 3, H, W) uint8, RGB.
        boxes: (B, P, 4) float32, x1 y1 x2 y2 in input pixels; zeros beyond an image's people.
        keypoints: (B, P, K, 3) float32, x, y in input pixels and v (0 unlabelled, 1 occluded, 2 visible, between 0
            and 1 the confidence of a label that no person made).
        areas: (B, P) float32, annotated areas in input pixels squared.
        people: (B, P) bool, True where there is a person.
        ignored: (B, R, 4) float32, x1 y1 x2 y2 of regions that supervise nothing (crowds); zeros beyond.
        image_ids: (B,) int64.
        letterboxes: (B, 3) float32, rows of `Letterbox`.
        sizes: (B, 2) int64, original height and width.
        files: B names, for messages.
    """

    images: Tensor
    boxes: Tensor
    keypoints: Tensor
    areas: Tensor
    people: Tensor
    ignored: Tensor
    image_ids: Tensor
    letterboxes: Tensor
    sizes: Tensor
    files: list[str]

    def to(self, device: torch.device | str) -> PoseBatch:
        """A copy on the device; does not wait for transfers from pinned memory."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> PoseBatch:
        """Called by the data loader."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> PoseBatch:
        names = (f.name for f in fields(self) if f.name != "files")
        changes: dict[str, Any] = {name: function(getattr(self, name)) for name in names}
        return replace(self, **changes)
