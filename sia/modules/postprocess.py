"""From the model's output to people in input pixels. Nothing is suppressed here: one token stands for one person."""

from __future__ import annotations

import torch
from torch import Tensor

from sia.boxes import to_corners
from sia.losses.criterion import QUALITY_POWER
from sia.outputs import PoseOutput, Prediction, gather_rows, longer_side

MARGIN = 0.05
"""Of a person beyond the outermost keypoints, in fractions of their longer side: ankles and eyes are not the edge."""


def decode(output: PoseOutput, image_size: tuple[int, int]) -> tuple[Tensor, ...]:
    """The best candidates; runs inside an exported graph as well.

    Args:
        output: of a model.
        image_size: (H, W) of the input.

    Returns:
        What `sia.runtimes.runtime.Decoded` describes, as tensors; the last two only of models that have them.
    """
    best = output.people.scores.argsort(dim=1, descending=True)
    people: Prediction = output.people.select(best)
    length = longer_side(image_size)
    found = (
        people.scores.sigmoid() ** (1 / QUALITY_POWER),
        around(to_corners(people.boxes), people.poses) * length,
        torch.cat([people.poses * length, people.confidences.sigmoid()[..., None]], dim=-1),
    )
    if output.certainty is None:
        return found
    visibilities, log_sigmas = (gather_rows(part, best) for part in output.certainty)
    return (*found, visibilities.sigmoid(), log_sigmas.exp() * length)


def around(boxes: Tensor, poses: Tensor) -> Tensor:
    """boxes (..., 4) as corners, poses (..., K, 2) -> the same boxes, grown where keypoints lie outside.

    The keypoints are found after the box, and better: on 346 photographs box AP is 11.8 instead of 9.5 so.
    """
    low, high = poses.amin(-2), poses.amax(-2)
    margin = MARGIN * (high - low).amax(-1, keepdim=True)
    return torch.cat(
        [torch.minimum(boxes[..., :2], low - margin), torch.maximum(boxes[..., 2:], high + margin)], dim=-1
    )
