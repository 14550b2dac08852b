"""The part of an image around people, in the size of a contact sheet's cell."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.drawing.annotator import Image
from sia.people import People

Floats = NDArray[np.floating]
MARGIN = 0.2
"""Around a person, as a fraction of the longer side."""


class Crop(NamedTuple):
    """A part of an image.

    Attributes:
        pixels: (h, w, 3) uint8, RGB.
        start: (2,) x, y of its upper left corner in the image.
        scale: pixels of the crop to one of the image.
    """

    pixels: Image
    start: NDArray[np.int64]
    scale: float

    def place(self, points: Floats) -> Floats:
        """(..., 2) pixels of the image -> of the crop."""
        return np.asarray((points - self.start) * self.scale)

    def people(self, people: People) -> People:
        """The same people in pixels of the crop."""
        boxes = self.place(people.boxes.reshape(-1, 2, 2)).reshape(-1, 4).astype(np.float32)
        return People(boxes, people.scores, self.place(people.keypoints).astype(np.float32), people.confidences)


def crop_around(image: Image, boxes: Floats, side: int) -> Crop:
    """The rectangle around all (B, 4) boxes with a margin, inside the image; its longer side becomes `side` pixels."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    around = MARGIN * float((high - low).max())
    ends = np.array(image.shape[1::-1])
    start = np.floor(low - around).clip(0, ends - 1).astype(np.int64)
    stop = np.maximum(np.ceil(high + around).clip(0, ends).astype(np.int64), start + 1)
    cut = image[start[1] : stop[1], start[0] : stop[0]]
    scale = side / max(cut.shape[:2])
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    return Crop(np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.uint8), start, scale)
