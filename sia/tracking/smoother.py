"""Smooths tracked people while a video is read: at once, or with the delay that a view of the future takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sia.people import People
from sia.tracking.filters import OneEuro, smooth_track
from sia.tracking.tracker import PATIENCE, TrackedPeople

T = TypeVar("T")
Floats = NDArray[np.float64]

WINDOW = 0.3
"""Seconds that the offline filter looks at, half of them ahead."""
LONGEST_GAP = 0.25
"""Seconds of the longest gap that is bridged."""


class Smoother(Protocol[T]):
    """Takes frames in order and gives them back in order, some later than others."""

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Takes the next frame; gives those that are done."""

    def finish(self) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the rest."""


def make_smoother(kind: str, rate: float) -> Smoother[T]:
    """One of `sia.commands.predict.SMOOTHING`, for a video of `rate` frames a second."""
    return Offline(rate) if kind == "offline" else Online(kind == "online")


class Online(Generic[T]):
    """No delay: One-Euro for each id, or nothing at all."""

    def __init__(self, smooth: bool = True) -> None:
        self.smooth = smooth
        self._filters: dict[int, tuple[OneEuro, float]] = {}

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives this frame."""
        yield frame, time, self._smooth(tracked, time) if self.smooth else tracked

    def finish(self) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Nothing is held back."""
        return iter(())

    def _smooth(self, tracked: TrackedPeople, time: float) -> TrackedPeople:
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
        return replace(tracked, people=replace(people, keypoints=smooth[:, :-2], boxes=smooth[:, -2:].reshape(-1, 4)))


class Offline(Generic[T]):
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
        self._seen: deque[TrackedPeople] = deque(maxlen=2 * self.delay + 1)
        self._next = 0

    def push(self, frame: T, tracked: TrackedPeople, time: float) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the frame `delay` frames ago."""
        if len(self._seen) == self._seen.maxlen:
            self._next -= 1
        self._seen.append(tracked)
        self._waiting.append((frame, time))
        if len(self._waiting) > self.delay:
            yield self._give()

    def finish(self) -> Iterator[tuple[T, float, TrackedPeople]]:
        """Gives the frames held back."""
        while self._waiting:
            yield self._give()

    def _give(self) -> tuple[T, float, TrackedPeople]:
        frame, time = self._waiting.popleft()
        done = self._smooth(self._next)
        self._next += 1
        return frame, time, done

    def _smooth(self, at: int) -> TrackedPeople:
        """The people of one frame in view of those around it."""
        now, rows = self._seen[at], [_rows(seen) for seen in self._seen]
        ahead = {i for row in list(rows)[at + 1 : at + 1 + self.gap] for i in row}
        behind = {i for row in list(rows)[max(at - self.gap, 0) : at] for i in row}
        numbers = [*rows[at], *sorted((ahead & behind) - set(rows[at]))]
        smoothed = [person for i in numbers if (person := self._person(i, at, rows)) is not None]
        strangers = np.flatnonzero(now.ids == 0)
        return _merge(now, strangers, smoothed)

    def _person(self, number: int, at: int, rows: list[dict[int, int]]) -> _Person | None:
        present = np.array([number in row for row in rows])
        found = [(seen.people, row.get(number)) for seen, row in zip(self._seen, rows, strict=True)]
        near = [found[t] for t in self._neighbours(present, at)]
        boxes = [people.boxes[row] for people, row in near]
        blank = np.zeros((near[0][0].keypoints.shape[1] + 2, 2))
        points = np.stack([blank if row is None else _with_boxes(people)[row] for people, row in found])
        smooth, interpolated = smooth_track(points, present, _size(boxes[0]), self.window, self.gap)
        if not present[at] and not interpolated[at]:
            return None
        score = min(float(people.scores[row]) for people, row in near)
        confidences = np.min([people.confidences[row] for people, row in near], axis=0)
        return _Person(number, smooth[at, :-2], smooth[at, -2:].ravel(), score, confidences, bool(interpolated[at]))

    @staticmethod
    def _neighbours(present: NDArray[np.bool_], at: int) -> tuple[int, int]:
        """The last frame up to this one with the person, and the first from this one on."""
        before, after = np.flatnonzero(present[: at + 1]), np.flatnonzero(present[at:])
        first = int(before[-1]) if len(before) else at + int(after[0])
        return first, at + int(after[0]) if len(after) else first


class _Person(NamedTuple):
    """One smoothed person."""

    number: int
    points: Floats
    box: Floats
    score: float
    confidences: Floats
    interpolated: bool


def _with_boxes(people: People) -> Floats:
    """(N, K + 2, 2) keypoints and the two corners of the box."""
    corners = people.boxes.reshape(-1, 2, 2)
    return np.concatenate([people.keypoints, corners], axis=1).astype(np.float64)


def _rows(tracked: TrackedPeople) -> dict[int, int]:
    """Row by id; those without one are left out."""
    return {int(number): row for row, number in enumerate(tracked.ids) if number}


def _merge(now: TrackedPeople, strangers: NDArray[np.intp], smoothed: list[_Person]) -> TrackedPeople:
    """People without an id as they are, then the smoothed ones; best score first."""
    people, k = now.people, now.people.keypoints.shape[1]
    scores = np.concatenate([people.scores[strangers], [person.score for person in smoothed]])
    order = np.argsort(-scores, kind="stable")

    def column(rows: NDArray[np.float32], values: list[Floats], shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.concatenate([rows[strangers], np.array(values, dtype=np.float32).reshape(-1, *shape)])[order]

    merged = People(
        column(people.boxes, [person.box for person in smoothed], (4,)),
        scores[order].astype(np.float32),
        column(people.keypoints, [person.points for person in smoothed], (k, 2)),
        column(people.confidences, [person.confidences for person in smoothed], (k,)),
    )
    ids = np.array([0] * len(strangers) + [person.number for person in smoothed], dtype=np.int64)
    interpolated = np.array([False] * len(strangers) + [person.interpolated for person in smoothed], dtype=bool)
    return TrackedPeople(merged, ids[order], interpolated[order])


def _size(box: NDArray[Any]) -> float:
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))
