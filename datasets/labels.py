"""The people of one image, as the annotations state them or as an augmentation left them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Labels:
    """N people with K keypoints and R ignored areas, in continuous pixels of one image.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        keypoints: (N, K, 3) float32, x, y and v (0 unlabelled, 1 occluded, 2 visible, between 0 and 1 the confidence of
            a label that no person made); x and y are 0 where v is 0.
        areas: (N,) float32, pixels squared that the person covers.
        ignored: (R, 4) float32, x1 y1 x2 y2 of areas where nothing is taught: crowds, unlabelled people.
    """

    boxes: Array
    keypoints: Array
    areas: Array
    ignored: Array

    def __len__(self) -> int:
        return len(self.boxes)

    def moved(self, x: float, y: float) -> Labels:
        """Moved by whole pixels; unlabelled joints stay at 0."""
        shift = np.array([x, y, x, y], np.float32)
        keypoints = self.keypoints.copy()
        keypoints[..., :2] += shift[:2] * (keypoints[..., 2:] > 0)
        return replace(self, boxes=self.boxes + shift, keypoints=keypoints, ignored=self.ignored + shift)


@dataclass(frozen=True)
class Sample:
    """One image with its labels.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: its people, in pixels of `image`.
        sources: indices of the images in the data set that it was made of.
    """

    image: NDArray[np.uint8]
    labels: Labels
    sources: tuple[int, ...]
