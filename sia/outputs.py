"""What a model returns. B images, Q candidates for a person, K keypoints.

Coordinates are input pixels divided by one length, the longer side of the input, so that both axes keep one scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sia.modules.roi_keypoint_head import Heatmaps


class Prediction(NamedTuple):
    """Q candidates an image.

    Attributes:
        scores: (B, Q) float32 logits that the candidate is a person, and well placed.
        boxes: (B, Q, 4) float32 centre x, centre y, width, height.
        poses: (B, Q, K, 2) float32 x, y; may lie outside box and image.
        confidences: (B, Q, K) float32 logits that the keypoint is in view and near.
    """

    scores: Tensor
    boxes: Tensor
    poses: Tensor
    confidences: Tensor

    def detach(self) -> Prediction:
        """The same values without their history."""
        return Prediction(*(part.detach() for part in self))

    def select(self, index: Tensor) -> Prediction:
        """(B, R) indices of candidates -> those R, in that order."""
        return Prediction(*(gather_rows(part, index) for part in self))


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """values (B, Q, ...), index (B, R) -> (B, R, ...)."""
    trailing = values.shape[2:]
    index = index.reshape(*index.shape, *(1 for _ in trailing)).expand(*index.shape, *trailing)
    return values.gather(1, index)


def longer_side(size: tuple[int, int]) -> float:
    """Of (H, W); max() would fix the symbols that an exported graph has for them."""
    length: Any = torch.sym_max(*size)
    return length  # type: ignore[no-any-return]


def at_most(count: int, available: int) -> int:
    """The smaller one; min() would fix in an exported graph which of them it is."""
    least: Any = torch.sym_min(count, available)
    return least  # type: ignore[no-any-return]


@dataclass
class PoseOutput:
    """Everything the criterion needs; inference reads `people` only.

    Attributes:
        people: the final candidates, (B, R).
        layers: in training, the candidates after each token layer, (B, G * M): G groups side by side.
        proposals: in training, what the shared head reads from every patch, (B, N).
        stands_for: in training, (B, N) the person whom each patch stands for, -1 for none.
        matched: in training, (B, G, P) the row in `layers` of each person, -1 for none.
        chosen: (B, R) which rows of the last of `layers` became `people`.
        placed: the candidates after the RoI keypoint head, and after each refiner layer where there is one, (B, R).
        places: where the RoI keypoint head looked.
    """

    people: Prediction
    layers: list[Prediction] = field(default_factory=list)
    proposals: Prediction | None = None
    patch_person: Tensor | None = None
    matched: Tensor | None = None
    selected: Tensor | None = None
    refined: list[Prediction] = field(default_factory=list)
    heatmaps: Heatmaps | None = None
