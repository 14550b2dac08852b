"""Cutting people out as published top-down models expect them, and putting their keypoints back.

The box grows by a quarter, then to the aspect of the input. Coordinates are those of COCO's annotations, which these
models were trained on as they stand (no half pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.evaluation.predictions import Array

PADDING = 1.25
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of RGB in 0 to 255."""


@dataclass(frozen=True)
class CropStyle:
    """What a model expects.

    Attributes:
        size: height, width of its input.
        unbiased: whether the corners of a crop are the centres of the input's corner pixels (UDP: Huang et al., CVPR
            2020, section 3.2), or the crop's side has as many pixels as the input's (MMPose otherwise).
        colours: mean and standard deviation of RGB in 0 to 255.
    """

    size: tuple[int, int]
    unbiased: bool
    colours: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET


@dataclass(frozen=True)
class Windows:
    """Where N crops are in the image.

    Attributes:
        corners: (N, 2) left, top, pixels.
        extents: (N, 2) width, height, pixels.
    """

    corners: Array
    extents: Array

    def to_image(self, shares: Array) -> Array:
        """(N, K, 2) fractions of the window's width and height -> pixels of the image."""
        return np.asarray(shares * self.extents[:, None] + self.corners[:, None])


def windows_of(boxes: Array, size: tuple[int, int]) -> Windows:
    """The windows of (N, 4) boxes x1, y1, x2, y2, with the aspect of an input of height, width."""
    aspect = size[1] / size[0]
    width, height = ((boxes[:, 2:] - boxes[:, :2]).clip(min=1.0) * PADDING).T
    width = np.maximum(width, height * aspect)
    extents = np.stack([width, width / aspect], axis=1)
    return Windows((boxes[:, :2] + boxes[:, 2:]) / 2 - extents / 2, extents)


def cut(image: NDArray[np.uint8], windows: Windows, style: CropStyle) -> NDArray[np.float32]:
    """(N, 3, H, W) normalised RGB; black beyond the image's border, before normalising."""
    height, width = style.size
    last = np.array([width, height], dtype=np.float64) - (1 if style.unbiased else 0)
    crops = np.empty((len(windows.corners), height, width, 3), np.float32)
    for i, (corner, extent) in enumerate(zip(windows.corners, windows.extents, strict=True)):
        scale = last / extent
        matrix = np.array([[scale[0], 0, -scale[0] * corner[0]], [0, scale[1], -scale[1] * corner[1]]])
        crops[i] = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    mean, deviation = (np.array(part, np.float32) for part in style.colours)
    return np.ascontiguousarray(((crops - mean) / deviation).transpose(0, 3, 1, 2))
