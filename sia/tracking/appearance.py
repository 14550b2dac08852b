"""What a person wears, as colours of trunk and legs: knows people again whom movement alone has lost.

Colour histograms of body parts are the oldest of the descriptors for re-identification (Gheissari et al., CVPR 2006);
they need no model, and hold as long as clothes and light stay.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sia.skeletons.skeleton import Skeleton

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Colours = NDArray[np.float32]
"""(2, B) roots of the shares of each colour on trunk and legs; a part that isn't seen is 0."""

PARTS = ("shoulder", "hip"), ("hip", "knee", "ankle")
"""Trunk and legs: the keypoints along each, on either side."""
CONFIDENCE = 0.3
"""Least of the keypoints that a part is seen at."""
_SIDE = 96
"""Pixels that the longer side of a person is shrunk to."""
_WIDTH = (0.12, 0.07)
"""Of trunk and legs, as fractions of the person's size."""
_BINS, _RANGE = (6, 10, 10), (0, 256, 64, 192, 64, 192)
"""Of the Lab colours of OpenCV; a and b beyond it count with the last bin."""


class Wardrobe:
    """Measures the colours of people of one skeleton; one without shoulders, hips and knees has none."""

    def __init__(self, skeleton: Skeleton) -> None:
        index = {name: k for k, name in enumerate(skeleton.names)}
        sides = [[[f"{side}_{name}" for name in part] for side in ("left", "right")] for part in PARTS]
        self._chains = [[[index[n] for n in names if n in index] for names in part] for part in sides]

    def measure(self, image: Image, points: Floats, confidences: Floats, box: Floats) -> Colours:
        """The colours of one person, in an RGB image and its pixels."""
        colours = np.zeros((len(PARTS), int(np.prod(_BINS))), np.float32)
        x1, y1, x2, y2 = (int(v) for v in np.clip(box, 0, (image.shape[1], image.shape[0]) * 2))
        if x2 - x1 < 8 or y2 - y1 < 8:
            return colours
        scale = min(1.0, _SIDE / max(x2 - x1, y2 - y1))
        size = max(round((x2 - x1) * scale), 1), max(round((y2 - y1) * scale), 1)
        crop = cv2.resize(image[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA)
        lab = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2LAB), np.uint8)
        np.clip(lab[..., 1:], _RANGE[2], _RANGE[3] - 1, out=lab[..., 1:])
        places = np.rint((points - (x1, y1)) * scale).clip(-4000, 4000).astype(np.int32)
        for part, chains in enumerate(self._chains):
            mask = np.zeros(lab.shape[:2], np.uint8)
            seen = [[k for k in chain if confidences[k] >= CONFIDENCE] for chain in chains]
            width = max(1, round(_WIDTH[part] * max(size)))
            for chain in seen:
                if len(chain) > 1:
                    cv2.polylines(mask, [places[chain]], False, 255, width)
            if part == 0 and all(len(chain) == 2 for chain in seen):
                cv2.fillConvexPoly(mask, places[[*seen[0], *reversed(seen[1])]], 255)
            if mask.any():
                colours[part] = _histogram(lab, mask)
        return colours


def _histogram(lab: Image, mask: Image) -> NDArray[np.float32]:
    counts = cv2.calcHist([lab], [0, 1, 2], mask, list(_BINS), [float(v) for v in _RANGE])
    soft = gaussian_filter(counts, 0.7, truncate=2.0, mode="constant")  # a colour at the border of two bins is in both
    return np.asarray(np.sqrt(soft / soft.sum()).ravel(), np.float32)


def likeness(first: Colours, second: Colours) -> float:
    """0 to 1: the Bhattacharyya coefficient of trunk or legs, the lesser; 0 where either isn't seen in both."""
    return float((first * second).sum(-1).min())
