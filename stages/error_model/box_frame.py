"""The frame in which people of all sizes are alike: that of their boxes.

M: people, K: keypoints.
"""

from __future__ import annotations

import numpy as np

from utils.metrics.predictions import Array


def frame_of(boxes: Array) -> tuple[Array, Array]:
    """(M, 1, 2) centres and (M, 1, 1) longer sides of (M, 4) boxes, at least one pixel."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return centres, (boxes[:, 2:] - boxes[:, :2]).max(-1).clip(min=1.0)[:, None, None]


def to_box(points: Array, boxes: Array) -> Array:
    """(M, K, 2) pixels -> relative to the box: (keypoint - centre) / longer side."""
    centres, sides = frame_of(boxes)
    return np.asarray((points - centres) / sides)
