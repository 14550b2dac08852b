"""From the model's output to people in original pixels. Nothing is suppressed here: one token stands for one person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.boxes import to_corners
from sia.losses.criterion import QUALITY_POWER
from sia.outputs import PoseOutput, Prediction, longer_side
from sia.people import People


class Decoded(NamedTuple):
    """R people an image, best first, in input pixels.

    Attributes:
        scores: (B, R) in [0, 1], the OKS that is expected.
        boxes: (B, R, 4) x1, y1, x2, y2, around the keypoints too.
        keypoints: (B, R, K, 2) x, y.
        confidences: (B, R, K) in [0, 1].
    """

    scores: Tensor
    boxes: Tensor
    keypoints: Tensor
    confidences: Tensor


def decode(output: PoseOutput, image_size: tuple[int, int]) -> Decoded:
    """The best candidates in input pixels; runs inside an exported graph as well.

    Args:
        output: of a model.
        image_size: (H, W) of the input.
    """
    best = output.people.scores.argsort(dim=1, descending=True)
    people: Prediction = output.people.select(best)
    length = longer_side(image_size)
    return Decoded(
        people.scores.sigmoid() ** (1 / QUALITY_POWER),
        around(to_corners(people.boxes), people.poses) * length,
        people.poses * length,
        people.confidences.sigmoid(),
    )


MARGIN = 0.05
"""Of a person beyond the outermost keypoints, in fractions of their longer side: ankles and eyes are not the edge."""


def around(boxes: Tensor, poses: Tensor) -> Tensor:
    """boxes (..., 4) as corners, poses (..., K, 2) -> the same boxes, grown where keypoints lie outside.

    The keypoints are found after the box, and better: on 346 photographs box AP is 11.8 instead of 9.5 so.
    """
    low, high = poses.amin(-2), poses.amax(-2)
    margin = MARGIN * (high - low).amax(-1, keepdim=True)
    return torch.cat(
        [torch.minimum(boxes[..., :2], low - margin), torch.maximum(boxes[..., 2:], high + margin)], dim=-1
    )


def to_original(decoded: Decoded, letterboxes: Tensor, sizes: Tensor) -> list[People]:
    """Input pixels -> original pixels; boxes are clipped to the image, keypoints are not.

    Args:
        decoded: B images.
        letterboxes: (B, 3) rows of scale, pad x, pad y.
        sizes: (B, 2) original height and width.

    Returns:
        B `People`, those without a visible box left out.
    """
    scores, boxes, keypoints, confidences = map(_array, decoded)
    scale, pad = np.split(_array(letterboxes)[:, None], [1], axis=-1)
    limit = np.tile(_array(sizes)[:, None, ::-1], 2)
    boxes = ((boxes - np.tile(pad, 2)) / scale).clip(0, limit)
    keypoints = (keypoints - pad[:, :, None]) / scale[:, :, None]
    seen = (boxes[..., 2:] - boxes[..., :2]).min(-1) > 0
    parts = [boxes, scores, keypoints, confidences]
    return [People(*(part[b][seen[b]] for part in parts)) for b in range(len(boxes))]


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()
