"""What flows between the parts: a batch for the model, and the people found in one image.

Coordinates are continuous: x to the right, y down, pixel i covers [i, i + 1). "Input pixels" are those of the
letterboxed model input, "original pixels" those of the picture as a viewer shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Letterbox(NamedTuple):
    """Original pixels to input pixels: ``input = original * scale + pad``, one scale for both axes."""

    scale: float
    pad_x: float
    pad_y: float


@dataclass
class PoseBatch:
    """B letterboxed images of one size with up to P people each; P and R may be 0.

    Attributes:
        images: (B, 3, H, W) uint8, RGB.
        boxes: (B, P, 4) float32, x1 y1 x2 y2 in input pixels; zeros beyond an image's people.
        keypoints: (B, P, K, 3) float32, x, y in input pixels and v (0 unlabelled, 1 occluded, 2 visible).
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


@dataclass(frozen=True)
class People:
    """The N people of one image, best score first, in original pixels.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        scores: (N,) float32 in [0, 1], the model's own estimate of how well the person is found.
        keypoints: (N, K, 2) float32, x, y; may lie outside the image.
        confidences: (N, K) float32 in [0, 1], expected closeness of each keypoint.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    confidences: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> People:
        """Those whose score is at least the threshold."""
        keep = self.scores >= threshold
        return People(self.boxes[keep], self.scores[keep], self.keypoints[keep], self.confidences[keep])
