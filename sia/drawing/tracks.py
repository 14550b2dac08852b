"""Draws people with ids: a colour that stays with each person, and the way that it came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from sia.drawing.annotator import Colour, Image, Label, PoseAnnotator, hue
from sia.people import People
from sia.skeletons.skeleton import Skeleton

_GOLDEN = 0.618034
"""Turns of the colour wheel by this much never come near an earlier one soon."""


def colour_of(number: int) -> Colour:
    """The colour of an id, RGB; grey for 0, who has none."""
    return hue(number * _GOLDEN, 0.65) if number > 0 else (160, 160, 160)


def id_labels(
    classes: Sequence[str], ids: Sequence[int], people: People, interpolated: Sequence[bool], counted: str = ""
) -> list[Label]:
    """What stands at each person, in the colour of its id: its class first; with the repetitions of what is counted."""
    names = [f"{name} {number}" if number else name for name, number in zip(classes, ids, strict=True)]
    notes = ["interpolated" if gap else f"{score:.2f}" for score, gap in zip(people.scores, interpolated, strict=True)]
    if people.repetitions is not None:
        notes = [f"{note}, {counted} {count}" for note, count in zip(notes, people.repetitions, strict=True)]
    entries = zip(names, notes, ids, strict=True)
    return [Label(f"{name} {note}", colour_of(number)) for name, note, number in entries]


class TrackAnnotator:
    """Draws the frames of one video, in order.

    Args:
        skeleton: what the keypoints mean.
        kpt_thresh: keypoints less confident than this are left out.
        seconds: how long a trail is.
        counted: what `People.repetitions` are of.
    """

    def __init__(self, skeleton: Skeleton, kpt_thresh: float, seconds: float = 1.5, counted: str = "") -> None:
        self.skeleton, self.seconds, self.counted = skeleton, seconds, counted
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
        labels = id_labels(self.skeleton.classes(people.confidences), ids, people, interpolated, self.counted)
        return self._artist.draw(canvas, people, labels)

    def _follow(self, people: People, ids: Sequence[int], time: float) -> None:
        """Adds the middle of the lower edge of each box; forgets what is too old."""
        for number, (x1, _, x2, y2) in zip(ids, people.boxes.tolist(), strict=True):
            if number:
                self._trails.setdefault(number, deque()).append((time, (x1 + x2) / 2, y2))
        for number in list(self._trails):
            while self._trails[number] and time - self._trails[number][0][0] > self.seconds:
                self._trails[number].popleft()
            if not self._trails[number]:
                del self._trails[number]


def _draw_trail(
    canvas: Image, trail: Iterable[tuple[float, float, float]], colour: Colour, time: float, seconds: float
) -> None:
    """Darker and thinner the longer ago."""
    width = max(2.0, max(canvas.shape[:2]) / 250)
    for (then, *start), (_, *end) in pairwise(trail):
        fresh = 1 - (time - then) / seconds
        shade = tuple(round(part * (0.35 + 0.65 * fresh)) for part in colour)
        first, last = ((round(16 * (x - 0.5)), round(16 * (y - 0.5))) for x, y in (start, end))
        cv2.line(canvas, first, last, shade, max(1, round(width * fresh)), cv2.LINE_AA, 4)
