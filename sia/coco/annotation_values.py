"""Values of annotation files, in every way in which programs write them: right, or None, but never guessed.

`Entry` is one row while it is read: what is noted about it, and values that are put right on the way.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import AnnotationFile, Issue

LARGEST = 1e15
"""Beyond it, a number is no coordinate or area; NaN isn't below it either."""
BOX_MARGIN = 0.1
"""A box that is made from joints is this much of its longer side wider on each side: people are wider than joints."""
POINT_MARGIN = 0.02
"""Where all joints are at one point, the box reaches so far on each side, relative to the image's longer side."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

_WHOLE = re.compile(r"\s*[+-]?\d{1,18}(\.0*)?\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?\s*", re.ASCII)
_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def read_whole(value: object) -> int | None:
    """An id or a size: an integer, or a float or text that is one exactly."""
    if type(value) is int:
        return value if abs(value) < 2**63 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else None
    return int(value.partition(".")[0]) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def read_number(value: object) -> float | None:
    """A finite number below `LARGEST`, also written as text; no boolean."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        return None
    return float(value)


def read_numbers(values: object, count: int) -> list[float] | None:
    """A list of so many numbers; itself where nothing has to be changed."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    if _PLAIN.issuperset(map(type, values)) and all(-LARGEST < value < LARGEST for value in values):
        return values if isinstance(values, list) else list(values)
    found = [read_number(value) for value in values]
    return None if None in found else [value for value in found if value is not None]


_PLAIN = frozenset((int, float))


def read_flag(value: Any) -> bool | None:
    """Whether something is so: a boolean, 0 or 1, or these as text; None (absent) is False here."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def box_around(points: NDArray[np.float64], width: float, height: float) -> Box:
    """Around (N, 2) points of an image, with a margin, inside the image where that leaves a box."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    margin = max(BOX_MARGIN * extent if extent else POINT_MARGIN * max(width, height), 1.0)
    low, high = low - margin, high + margin
    cut_low, cut_high = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    if (cut_high > cut_low).all():
        low, high = cut_low, cut_high
    return (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))


class Entry:
    """One row of a section while it is read; one that is changed becomes a copy."""

    def __init__(self, file: AnnotationFile, section: str, index: int) -> None:
        self.file, self.rows, self.index = file, file.content[section], index
        self.image = index if section == "images" else None
        self.row = index if section == "annotations" else None

    def __getitem__(self, key: str) -> Any:
        return self.rows[self.index].get(key)

    def put(self, **values: Any) -> None:
        """Changes the row."""
        self.rows[self.index] = {**self.rows[self.index], **values}

    def fault(self, check: str, message: str) -> None:
        """Notes what nobody can take."""
        self.file.faults.append(Issue(check, message, self.image, self.row))

    def take(self, check: str, message: str, **values: Any) -> None:
        """Notes what is taken for right, and puts it there."""
        self.file.taken.append(Issue(check, message, self.image, self.row))
        if values:
            self.put(**values)

    def whole(self, key: str) -> int | None:
        """An integer, which the row then has as such; None where it is none."""
        given = self[key]
        value = read_whole(given)
        if value is not None and type(given) is not int:
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {value}.", **{key: value})
        return value

    def flag(self, key: str, remedy: str) -> bool:
        """A flag; one that is neither is a fault."""
        given = self[key]
        value = read_flag(given)
        if value is None:
            self.fault("flag", f"has {key} {given!r:.40}. {remedy}")
        elif isinstance(given, str):
            self.take("written-otherwise", f"has {key} {given!r:.40}: taken as {int(value)}.", **{key: int(value)})
        return bool(value)
