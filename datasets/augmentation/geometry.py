"""Moves a picture and its people together: one affine matrix, one warp, exact to a fraction of a pixel.

Matrices are (3, 3) float64 and map continuous points (pixel i covers [i, i + 1)) of the source to the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.labels import Array, Labels
from sia.people import Letterbox

Matrix = NDArray[np.float64]

FILL = 114
"""Grey level beyond the border of a picture."""
MIN_SIDE = 2.0
"""Pixels; a person whose visible box has a shorter side is ignored, not taught."""
MIN_VISIBLE = 0.1
"""A person of whose box less than this fraction is left is ignored, not taught."""


def affine(linear: Sequence[Sequence[float]] | Matrix, shift: Sequence[float] | Matrix = (0.0, 0.0)) -> Matrix:
    """(3, 3) matrix of ``linear @ point + shift``."""
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix


def scale_of(matrix: Matrix) -> float:
    """Length in the result of one pixel of the source; for matrices with one scale for both axes."""
    return math.sqrt(abs(_determinant(matrix)))


def _determinant(matrix: Matrix) -> float:
    """Of the linear part; negative for a mirror image. NumPy's own is slow for so small a matrix."""
    return float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])


def fit_letterbox(source: tuple[int, int], target: tuple[int, int]) -> Letterbox:
    """The whole source as large as it fits into the target, centred, never squashed; sizes are height, width.

    Padding is whole pixels, so that a picture of the target's size stays as it is.
    """
    scale = min(target[0] / source[0], target[1] / source[1])
    pad_y, pad_x = ((target[axis] - source[axis] * scale) // 2 for axis in (0, 1))
    return Letterbox(scale, max(pad_x, 0.0), max(pad_y, 0.0))


def letterbox_matrix(letterbox: Letterbox) -> Matrix:
    """Original pixels to input pixels."""
    return affine(np.eye(2) * letterbox.scale, (letterbox.pad_x, letterbox.pad_y))


def letterbox_image(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], Letterbox]:
    """The picture as the model sees it at validation and inference.

    Args:
        image: (h, w, 3) uint8, RGB.
        size: H, W of the model input.

    Returns:
        (H, W, 3) uint8, and the mapping from original to input pixels.
    """
    letterbox = fit_letterbox((image.shape[0], image.shape[1]), size)
    return warp_image(image, letterbox_matrix(letterbox), size), letterbox


def warp_image(image: NDArray[np.uint8], matrix: Matrix, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8; grey where the source doesn't reach.

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
        image, pixels, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(FILL,) * 3
    )
    return np.asarray(warped, np.uint8)


def warp_points(points: NDArray[np.floating], matrix: Matrix) -> Array:
    """(..., 2) points through the matrix."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float32)


def warp_labels(labels: Labels, matrix: Matrix, size: tuple[int, int], flip_order: Sequence[int]) -> Labels:
    """The labels as `warp_image` moves their picture; size is the H, W of the result.

    - A matrix that mirrors swaps left and right joints.
    - Joints outside the result become unlabelled.
    - A rotated box is the box around the rotated ellipse inscribed in the old one, and around those labelled joints
      that were inside the old one: the corners of a box are seldom person.
    - Boxes are cut at the border. Areas scale with the matrix and with the fraction of the box that is left. A person
      of whom almost nothing is left becomes an ignored area, because it is not background either.
    """
    whole = _warp_boxes(labels, matrix)
    boxes = clip_boxes(whole, size)
    full, left = _box_areas(whole), _box_areas(boxes)
    fraction = left / np.maximum(full, 1e-9)
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all(axis=1) & (fraction >= MIN_VISIBLE)
    areas = labels.areas * scale_of(matrix) ** 2 * fraction
    ignored = np.concatenate([clip_boxes(_warp_corners(labels.ignored, matrix), size), boxes[~keep]])
    keypoints = _warp_keypoints(labels.keypoints[keep], matrix, size, flip_order)
    return Labels(boxes[keep], keypoints, areas[keep].astype(np.float32), ignored[_box_areas(ignored) > 0])


def _warp_keypoints(keypoints: Array, matrix: Matrix, size: tuple[int, int], flip_order: Sequence[int]) -> Array:
    if _determinant(matrix) < 0:
        keypoints = keypoints[:, list(flip_order)]
    xy, v = warp_points(keypoints[..., :2], matrix), keypoints[..., 2:]
    inside = ((xy >= 0) & (xy <= np.array(size[::-1]))).all(axis=-1, keepdims=True)
    return np.where(inside & (v > 0), np.concatenate([xy, v], axis=-1), 0).astype(np.float32)


def _warp_boxes(labels: Labels, matrix: Matrix) -> Array:
    """(N, 4) boxes of the warped ellipses and joints, not cut."""
    low, high = labels.boxes[:, :2], labels.boxes[:, 2:]
    centres = warp_points((low + high) / 2, matrix)
    halves = np.sqrt(((high - low) / 2) ** 2 @ (matrix[:2, :2] ** 2).T)
    xy = labels.keypoints[..., :2]
    counts = (labels.keypoints[..., 2] > 0) & ((xy >= low[:, None]) & (xy <= high[:, None])).all(axis=-1)
    points = np.where(counts[..., None], warp_points(xy, matrix), centres[:, None])
    first = np.minimum(centres - halves, points.min(axis=1, initial=np.inf))
    last = np.maximum(centres + halves, points.max(axis=1, initial=-np.inf))
    return np.concatenate([first, last], axis=1).astype(np.float32)


def _warp_corners(boxes: Array, matrix: Matrix) -> Array:
    """(R, 4) boxes around all four warped corners: an ignored area may grow but never shrink."""
    corners = warp_points(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], matrix)  # (R, 4 corners, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def clip_boxes(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes cut at the border of a picture of height, width."""
    height, width = size
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height])), np.float32)


def _box_areas(boxes: Array) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1), np.float32)
