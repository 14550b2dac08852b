"""Draws people with ids: a colour that stays with each person, and the way that it came."""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.drawing.annotator import Colour, Image, Label, PoseAnnotator
from sia.people import People
from sia.skeletons.skeleton import Skeleton

_GOLDEN = 0.618034
"""Turns of the colour wheel by this much never come near an earlier one soon."""
_NOBODY: Colour = (160, 160, 160)


def colour_of(number: int) -> Colour:
    """The colour of an id, RGB; grey for 0, who has none."""
    if number <= 0:
        return _NOBODY
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def id_labels(category: str, ids: Sequence[int], scores: Sequence[float], interpolated: Sequence[bool]) -> list[Label]:
    """What stands at each person, in the colour of its id."""
    names = [f"{category} {number}" if number else category for number in ids]
    notes = ["bridged" if gap else f"{score:.2f}" for score, gap in zip(scores, interpolated, strict=True)]
    entries = zip(names, notes, ids, strict=True)
    return [Label(f"{name} {note}", colour_of(number)) for name, note, number in entries]


class TrackAnnotator:
    """Draws the frames of one video, in order.

    Args:
        skeleton: what the keypoints mean.
        kpt_thresh: keypoints less confident than this are left out.
        seconds: how long a trail is.
    """

    def __init__(self, skeleton: Skeleton, kpt_thresh: float, seconds: float = 1.5) -> None:
        self.category, self.seconds = skeleton.category, seconds
        self._artist = PoseAnnotator(skeleton, kpt_thresh, fade=True)
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}

    def draw(
        self, image: Image, people: People, ids: Sequence[int], interpolated: Sequence[bool], time: float
    ) -> Image:
        """A new image with trails, people and ids on it.

        Args:
            image: (H, W, 3) uint8, RGB; stays as it is.
            people: N, in pixels of the image.
            ids: N, 0 for none.
            interpolated: N, whether the person was not found but lies between two frames where it was.
            time: seconds, later than that of the frame before.
        """
        canvas = np.array(image, order="C")
        self._follow(people, ids, time)
        for number, trail in self._trails.items():
            _draw_trail(canvas, trail, colour_of(number), time, self.seconds)
        return self._artist.draw(canvas, people, id_labels(self.category, ids, people.scores.tolist(), interpolated))

    def _follow(self, people: People, ids: Sequence[int], time: float) -> None:
        """Adds the middle of the lower edge of each box; forgets what is too old."""
        for number, (x1, _, x2, y2) in zip(ids, people.boxes.tolist(), strict=True):
            if number:
                self._trails.setdefault(number, deque()).append((time, (x1 + x2) / 2, y2))
        for number in list(self._trails):
            trail = self._trails[number]
            while trail and time - trail[0][0] > self.seconds:
                trail.popleft()
            if not trail:
                del self._trails[number]


def _draw_trail(
    canvas: Image, trail: deque[tuple[float, float, float]], colour: Colour, time: float, seconds: float
) -> None:
    """Darker and thinner the longer ago."""
    width = max(2.0, max(canvas.shape[:2]) / 250)
    points: NDArray[np.float64] = np.array(trail)
    for (then, *start), (_, *end) in pairwise(points):
        fresh = 1 - (time - then) / seconds
        shade = tuple(round(part * (0.35 + 0.65 * fresh)) for part in colour)
        first, last = ((round(16 * (x - 0.5)), round(16 * (y - 0.5))) for x, y in (start, end))
        cv2.line(canvas, first, last, shade, max(1, round(width * fresh)), cv2.LINE_AA, 4)
