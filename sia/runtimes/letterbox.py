"""The model's input: the whole image at one scale in the middle of a grey canvas.

Matrices are (3, 3) float64 and map continuous points (pixel i covers [i, i + 1)) of the source to the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

FILL = 114
"""Grey level beyond the border of an image."""


class Letterbox(NamedTuple):
    """Original pixels to input pixels: ``input = original * scale + pad``, one scale for both axes."""

    scale: float
    pad_x: float
    pad_y: float


def affine(linear: Sequence[Sequence[float]] | Matrix, shift: Sequence[float] | Matrix = (0.0, 0.0)) -> Matrix:
    """(3, 3) matrix of ``linear @ point + shift``."""
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix


def scale_of(matrix: Matrix) -> float:
    """Length in the result of one pixel of the source; for matrices with one scale for both axes."""
    return math.sqrt(abs(determinant(matrix)))


def determinant(matrix: Matrix) -> float:
    """Of the linear part; negative for a mirror image. NumPy's own is slow for so small a matrix."""
    return float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])


def fit_letterbox(source: tuple[int, int], target: tuple[int, int]) -> Letterbox:
    """The whole source as large as it fits into the target, centred, never squashed; sizes are height, width.

    Padding is whole pixels, so that an image of the target's size stays as it is.
    """
    scale = min(target[0] / source[0], target[1] / source[1])
    pad_y, pad_x = ((target[axis] - source[axis] * scale) // 2 for axis in (0, 1))
    return Letterbox(scale, max(pad_x, 0.0), max(pad_y, 0.0))


def letterbox_matrix(letterbox: Letterbox) -> Matrix:
    """Original pixels to input pixels."""
    return affine(np.eye(2) * letterbox.scale, (letterbox.pad_x, letterbox.pad_y))


def letterbox_image(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], Letterbox]:
    """The image as the model sees it at validation and inference.

    Args:
        image: (h, w, 3) uint8, RGB.
        size: H, W of the model input.

    Returns:
        (H, W, 3) uint8, and the mapping from original to input pixels.
    """
    letterbox = fit_letterbox((image.shape[0], image.shape[1]), size)
    return warp_image(image, letterbox_matrix(letterbox), size), letterbox


def warp_image(
    image: NDArray[np.uint8], matrix: Matrix, size: tuple[int, int], fill: tuple[int, int, int] = (FILL,) * 3
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8; of the colour `fill` where the source doesn't reach.

    Strong reductions first average whole blocks, because one bilinear warp would skip pixels (aliasing).
    """
    factor = int(1 / scale_of(matrix) + 1e-6)
    if factor > 1:
        x, y = (min(factor, side) for side in (image.shape[1], image.shape[0]))  # thin images keep one row or column
        image = np.asarray(cv2.resize(image, None, fx=1 / x, fy=1 / y, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ affine(np.diag((x, y)))
    pixels = matrix[:2].copy()
    pixels[:, 2] += pixels[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from pixel centres
    warped = cv2.warpAffine(
        image, pixels, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(warped, np.uint8)
