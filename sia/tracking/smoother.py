"""Smooths tracked people while a video is read: at once, or with the delay that a view of the future takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sia.people import People
from sia.tracking.filters import OneEuro, smooth_track
from sia.tracking.tracker import PATIENCE, TrackedPeople, join, untracked

T = TypeVar("T")
Floats = NDArray[np.float64]

WINDOW = 0.3
"""Seconds that the offline filter looks at, half of them ahead."""
LONGEST_GAP = 0.25
"""Seconds of the longest gap that is bridged."""


class Smoother(Generic[T]):
    """Takes frames in order and gives them back in order, some later than others; this one at once, as they are."""

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Takes the next frame; gives those that are done."""
        yield frame, time, tracked

    def finish(self) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the rest."""
        return iter(())


def make_smoother(kind: str, rate: float) -> Smoother[T]:
    """One of `sia.commands.predict.SMOOTHING`, for a video of `rate` frames a second."""
    return Offline(rate) if kind == "offline" else Online() if kind == "online" else Smoother()


class Online(Smoother[T]):
    """No delay: One-Euro for each id."""

    def __init__(self) -> None:
        self._filters: dict[int, tuple[OneEuro, float]] = {}

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives this frame."""
        self._filters = {i: entry for i, entry in self._filters.items() if time - entry[1] <= PATIENCE}
        people = tracked.people
        points = _with_boxes(people)
        confidences = np.pad(people.confidences.astype(np.float64), ((0, 0), (0, 2)), constant_values=1.0)
        for row in np.flatnonzero(tracked.ids):
            number = int(tracked.ids[row])
            one_euro = self._filters[number][0] if number in self._filters else OneEuro()
            points[row] = one_euro(points[row], confidences[row], _size(people.boxes[row]), time)
            self._filters[number] = one_euro, time
        smooth = points.astype(np.float32)
        people = replace(people, keypoints=smooth[:, :-2], boxes=smooth[:, -2:].reshape(-1, 4))
        yield frame, time, replace(tracked, people=people)


class Offline(Smoother[T]):
    """Savitzky-Golay with a fixed delay: exactly what `smooth_track` makes of whole tracks, in constant memory.

    Args:
        rate: frames a second.
    """

    def __init__(self, rate: float) -> None:
        self.window = max(5, 2 * round(WINDOW * rate / 2) + 1)
        self.gap = max(1, round(LONGEST_GAP * rate))
        # At the end of a track the filter uses a whole window; a gap in it needs what is behind the gap, and whether
        # that is a spike depends on what is around it.
        self.delay = self.window - 1 + max(self.gap, self.window // 2 + 1) + self.window // 2 + 1
        self._waiting: deque[tuple[T, float]] = deque()
        self._seen: deque[tuple[People, dict[int, int]]] = deque(maxlen=2 * self.delay + 1)  # with the row of each id
        self._next = 0

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the frame `delay` frames ago."""
        if len(self._seen) == self._seen.maxlen:
            self._next -= 1
        self._seen.append((tracked.people, {number: row for row, number in enumerate(tracked.ids.tolist()) if number}))
        self._waiting.append((frame, time))
        if len(self._waiting) > self.delay:
            yield self._give()

    def finish(self) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the frames held back."""
        while self._waiting:
            yield self._give()

    def _give(self) -> tuple[T, float, TrackedPeople]:
        """The oldest frame, its people in view of the frames around it: strangers as they are, best score first."""
        at, seen = self._next, list(self._seen)
        people, rows = seen[at]
        ahead = {number for _, row in seen[at + 1 : at + 1 + self.gap] for number in row}
        behind = {number for _, row in seen[max(at - self.gap, 0) : at] for number in row}
        strangers = [row for row in range(len(people)) if row not in rows.values()]
        found = [untracked(people).rows(strangers)]
        for number in (*rows, *sorted((ahead & behind) - set(rows))):
            found += self._person(number, at)
        self._next += 1
        done = join(found)
        return *self._waiting.popleft(), done.rows(np.argsort(-done.people.scores, kind="stable"))

    def _person(self, number: int, at: int) -> Iterator[TrackedPeople]:
        """One person of a frame, smoothed; none where it isn't there and the gap is too long."""
        places = [(people, rows.get(number)) for people, rows in self._seen]
        present = np.array([row is not None for _, row in places])
        frames = np.flatnonzero(present).tolist()
        last = max((t for t in frames if t <= at), default=frames[0])
        first = min((t for t in frames if t >= at), default=frames[-1])
        near = [people[[rows[number]]] for people, rows in (self._seen[last], self._seen[first])]
        blank = np.zeros((near[0].keypoints.shape[1] + 2, 2))
        points = np.stack([blank if row is None else _with_boxes(people)[row] for people, row in places])
        smooth, interpolated = smooth_track(points, present, _size(near[0].boxes[0]), self.window, self.gap)
        if present[at] or interpolated[at]:
            person = People(
                smooth[None, at, -2:].reshape(1, 4).astype(np.float32),
                np.minimum(near[0].scores, near[1].scores),
                smooth[None, at, :-2].astype(np.float32),
                np.minimum(near[0].confidences, near[1].confidences),
                visibilities=_of_both(np.minimum, near[0].visibilities, near[1].visibilities),
                sigmas=_of_both(np.maximum, near[0].sigmas, near[1].sigmas),
            )
            yield TrackedPeople(person, np.array([number]), interpolated[[at]])


def _of_both(function: np.ufunc, first: NDArray[Any] | None, second: NDArray[Any] | None) -> NDArray[Any] | None:
    """Of what the weights tell, if they do."""
    return None if first is None or second is None else function(first, second)


def _with_boxes(people: People) -> Floats:
    """(N, K + 2, 2) keypoints and the two corners of the box."""
    return np.concatenate([people.keypoints, people.boxes.reshape(-1, 2, 2)], axis=1).astype(np.float64)


def _size(box: NDArray[Any]) -> float:
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))
