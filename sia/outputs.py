"""What a model returns. B images, Q candidates for a person, K keypoints.

Coordinates are input pixels divided by one length, the longer side of the input, so that both axes keep one scale.
"""

from __future__ import annotations

from dataclasses import dataclass
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


class Certainty(NamedTuple):
    """What is said of the keypoints of R people an image, beside where they are.

    Attributes:
        visibilities: (B, R, K) float32 logits that a keypoint, if somebody labelled it, is visible (v = 2), not
            occluded (v = 1).
        log_sigmas: (B, R, K) float32 logarithms of the distance, in units of the longer input side, within which 68.27
            % of the errors in x, and of those in y, are expected: the standard deviation of normal errors.
    """

    visibilities: Tensor
    log_sigmas: Tensor


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


@dataclass(frozen=True)
class PoseOutput:
    """What a model predicts. N patches, G groups of M tokens (one group outside training), R people.

    Attributes:
        people: the result, (B, R).
        refined: the people after the RoI keypoint head, and after each refiner layer where there is one, (B, R).
        heatmaps: of the RoI keypoint head.
        selected: (B, R) which rows of the last of `layers` became `people`.
        layers: the candidates after each layer of tokens, (B, G * M), the groups side by side.
        proposals: what the head reads from every patch, (B, N).
        certainty: of the people, (B, R), where the model has such a head.
        guess: the same before the RoI keypoint head, of what the tokens found.
        patch_person: in training, (B, N) the labelled person whom each patch is matched to, -1 for none.
        matched: in training, (B, G, P) the row in `layers` of each labelled person, -1 for none.
    """

    people: Prediction
    refined: list[Prediction]
    heatmaps: Heatmaps
    selected: Tensor
    layers: list[Prediction]
    proposals: Prediction
    certainty: Certainty | None = None
    guess: Certainty | None = None
    patch_person: Tensor | None = None
    matched: Tensor | None = None
