"""From heatmaps and SimCC vectors to places in the crop, as the models' authors do it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.ensemble.experts.expert import Floats

BLUR = 11
"""Side of the Gaussian kernel that smooths a heatmap; OpenCV's sigma for it is 2."""


def decode_heatmaps(heatmaps: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """DARK for UDP heatmaps: a Newton step from the peak of the smoothed logarithm.

    Zhang et al., Distribution-Aware Coordinate Representation, CVPR 2020, section 3; Huang et al., CVPR 2020.

    Args:
        heatmaps: (N, K, h, w).

    Returns:
        (N, K, 2) x, y as fractions of the crop, whose corners are the centres of the corner cells; (N, K) peaks.
    """
    n, k, height, width = heatmaps.shape
    flat = heatmaps.reshape(n * k, height, width)
    peaks = flat.reshape(n * k, -1).max(axis=1)
    y, x = np.unravel_index(flat.reshape(n * k, -1).argmax(axis=1), (height, width))
    places = np.stack([x, y], axis=1) + _newton_step(flat, x, y)
    places = np.where(peaks[:, None] > 0, places, 0.0) / (width - 1, height - 1)
    return places.reshape(n, k, 2), peaks.reshape(n, k).astype(np.float64)


def _newton_step(maps: NDArray[np.float32], x: NDArray[np.intp], y: NDArray[np.intp]) -> Floats:
    """(M, 2) from the peaks to where the quadratic through their neighbours is highest."""
    smooth = np.stack([_smoothed(one) for one in maps]) if len(maps) else np.zeros((0, *maps.shape[1:]))
    padded = np.pad(np.log(smooth.clip(1e-3, 50).astype(np.float64)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = np.arange(len(maps))

    def at(dx: int, dy: int) -> Floats:
        return np.asarray(padded[rows, y + 1 + dy, x + 1 + dx])

    here, left, right, up, down = at(0, 0), at(-1, 0), at(1, 0), at(0, -1), at(0, 1)
    slope = np.stack([right - left, down - up], axis=1) / 2
    xx, yy = right - 2 * here + left, down - 2 * here + up
    xy = (at(1, 1) - right - down + 2 * here - left - up + at(-1, -1)) / 2
    tiny = float(np.finfo(np.float32).eps)
    curve = np.stack([np.stack([xx + tiny, xy], -1), np.stack([xy, yy + tiny], -1)], -2)
    return _solve(curve, -slope)


def _solve(curve: Floats, target: Floats) -> Floats:
    """(M, 2, 2) and (M, 2) -> (M, 2); no step where the map is flat."""
    determinant = curve[:, 0, 0] * curve[:, 1, 1] - curve[:, 0, 1] * curve[:, 1, 0]
    steep = np.abs(determinant) > 1e-12
    safe = np.where(steep[:, None, None], curve, np.eye(2))
    return np.where(steep[:, None], np.linalg.solve(safe, target[..., None])[..., 0], 0.0)


def _smoothed(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurred with zeros beyond the border; its peak is as high as before."""
    border = BLUR // 2
    blurred = cv2.GaussianBlur(np.pad(heatmap, border).astype(np.float32), (BLUR, BLUR), 0)
    blurred = blurred[border:-border, border:-border]
    highest = float(blurred.max())
    return np.asarray(blurred * (float(heatmap.max()) / highest) if highest > 0 else blurred, np.float32)


def decode_simcc(along_x: NDArray[np.floating], along_y: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The best bin of each axis (Li et al., SimCC, ECCV 2022, section 3.1).

    Args:
        along_x: (N, K, bins) scores over the crop's width.
        along_y: (N, K, bins) scores over its height.

    Returns:
        (N, K, 2) x, y as fractions of the crop; (N, K) the lower of the two best scores, which may exceed 1.
    """
    places = np.stack([axis.argmax(-1) / axis.shape[-1] for axis in (along_x, along_y)], axis=-1)
    return places, np.minimum(along_x.max(-1), along_y.max(-1)).astype(np.float64)
