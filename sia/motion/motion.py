"""What the people of a video do: a table of their angles, and how often each has done something."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sia.io.results import JsonLines
from sia.motion.angles import Floats, find_angles, measure_angles
from sia.motion.repetitions import RepetitionCounter
from sia.skeletons.skeleton import Skeleton
from sia.tracking.tracker import TrackedPeople

EXERCISES = {"squat": "knee", "push_up": "elbow"}
"""Exercises that begin with straight joints, and the angle that tells their repetitions."""


class Motion:
    """Takes the frames of one video in order.

    Args:
        skeleton: of the people.
        kpt_thresh: in [0, 1]; a keypoint less confident than this has no angle.
        angles: what `find_angles` takes; None for no table.
        count: an exercise, or an angle, of which the mean of both sides counts; None for no repetitions.

    Raises:
        ConfigError: the skeleton has no such angle.
    """

    def __init__(self, skeleton: Skeleton, kpt_thresh: float, angles: str | None, count: str | None) -> None:
        self.kpt_thresh, self.counted = kpt_thresh, count
        self._angles = find_angles(skeleton, angles) if angles else {}
        self._joints = find_angles(skeleton, EXERCISES.get(count, count)) if count else {}
        self._counters = defaultdict[int, RepetitionCounter](partial(RepetitionCounter, count in EXERCISES))
        self._table: JsonLines | None = None

    def open_table(self, path: Path, stack: ExitStack) -> None:
        """Begins the table, where one is wanted; it gets its name when the stack is left.

        Raises:
            OutputError: it can't be written.
        """
        if self._angles:
            self._table = stack.enter_context(JsonLines(path))
            self._table.append([_line(["frame", "time", "id", *self._angles])])

    @property
    def repetitions(self) -> dict[str, int]:
        """Of each id."""
        return {str(number): counter.count for number, counter in sorted(self._counters.items())}

    def update(self, frame: int, time: float, tracked: TrackedPeople) -> TrackedPeople:
        """Measures the people of the next frame; gives them with their repetitions, where these are counted.

        Args:
            frame: number in the video.
            time: seconds since its start.
            tracked: the people, in pixels.

        Raises:
            OutputError: the table can't be written.
        """
        people, numbers = tracked.people, tracked.ids.tolist()
        if self._table is not None:
            measured = measure_angles(people, self._angles, self.kpt_thresh).tolist()
            known = [(number, row) for number, row in zip(numbers, measured, strict=True) if number]
            self._table.append([_line([frame, f"{time:.6f}", i, *map(_cell, row)]) for i, row in known])
        if not self.counted:
            return tracked
        rows = zip(numbers, measure_angles(people, self._joints, self.kpt_thresh), strict=True)
        counts = np.array([self._count(i, row[np.isfinite(row)], time) for i, row in rows], np.int64)
        return replace(tracked, people=replace(people, repetitions=counts))

    def _count(self, number: int, angles: Floats, time: float) -> int:
        if not number:
            return 0
        counter = self._counters[number]
        return counter.update(float(angles.mean()), time) if len(angles) else counter.count


def _cell(angle: float) -> str:
    return "" if np.isnan(angle) else f"{angle:.1f}"


def _line(values: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().encode()
