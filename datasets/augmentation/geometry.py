"""Moves an image and its people together: one affine matrix, one warp, exact to a fraction of a pixel.

Matrices are (3, 3) float64 and map continuous points (pixel i covers [i, i + 1)) of the source to the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datasets.labels import Array, Labels
from sia.runtimes.letterbox import Matrix, determinant, scale_of

MIN_SIDE = 2.0
"""Pixels; a person whose visible box has a shorter side is ignored, not taught."""
MIN_VISIBLE = 0.1
"""A person of whose box less than this fraction is left is ignored, not taught."""


def warp_points(points: NDArray[np.floating], matrix: Matrix) -> Array:
    """(..., 2) points through the matrix."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float32)


def warp_labels(labels: Labels, matrix: Matrix, size: tuple[int, int], flip_order: Sequence[int]) -> Labels:
    """The labels as `warp_image` moves their image; size is the H, W of the result.

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
    if determinant(matrix) < 0:
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
    """Boxes cut at the border of an image of height, width."""
    height, width = size
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height])), np.float32)


def _box_areas(boxes: Array) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1), np.float32)
