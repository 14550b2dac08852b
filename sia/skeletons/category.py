"""What a category of a COCO file says about its keypoints, in every way in which programs write it.

What is written in none of these ways is a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sia.errors import DataError

Pairs = tuple[tuple[int, int], ...]


class Lines(NamedTuple):
    """The lines between keypoints: pairs of indices from 0 on, and how they were written if not as COCO does."""

    edges: Pairs
    taken: str


def read_names(category: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the keypoints; numbers are names, too."""
    names = category.get("keypoints")
    if names is None or names == []:
        named = category.get("name", category.get("id"))
        raise DataError(f"Category {named!r:.60} declares no keypoints. Add its list of keypoint names as 'keypoints'.")
    if not isinstance(names, list | tuple) or not all(type(name) in (str, int) for name in names):
        raise DataError(f"'keypoints' is {names!r:.60}, which is no list of names.")
    return tuple(map(str, names))


def read_lines(lines: object, names: Sequence[str]) -> Lines:
    """``skeleton``: pairs of numbers from 1 on; from 0 on, where no doubt is left; pairs of names; a flat list."""
    if lines is None or lines == []:
        return Lines((), "")
    rows: Sequence[Any] = lines if isinstance(lines, list | tuple) else [None]
    flat = not any(isinstance(line, list | tuple) for line in rows)
    pairs = [rows[i : i + 2] for i in range(0, len(rows), 2)] if flat else rows
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise _no_lines(lines)
    edges, taken = _indices(pairs, names, lines)
    return Lines(edges, "; ".join(filter(None, ["a flat list" if flat else "", taken])))


def _indices(pairs: Sequence[Sequence[Any]], names: Sequence[str], lines: object) -> tuple[Pairs, str]:
    ends = [end for pair in pairs for end in pair]
    if all(type(end) is int for end in ends):
        start = 0 if min(ends) == 0 and max(ends) < len(names) else 1
        if not all(start <= end < len(names) + start for end in ends):
            raise DataError(
                f"Skeleton pairs {[list(pair) for pair in pairs if not 1 <= min(pair) <= max(pair) <= len(names)][:3]} "
                f"leave the range of its {len(names)} keypoints. Number them from 1 to {len(names)}."
            )
        return tuple((a - start, b - start) for a, b in pairs), "" if start else "counted from 0"
    if all(isinstance(end, str) and end in names for end in ends):
        return tuple((names.index(a), names.index(b)) for a, b in pairs), "given as names"
    raise _no_lines(lines)


def _no_lines(lines: object) -> DataError:
    return DataError(
        f"'skeleton' is {lines!r:.60}. Give pairs of keypoint numbers that count from 1, such as [[1, 2]]."
    )


def read_pairs(pairs: object, names: Sequence[str]) -> Pairs:
    """``flip_pairs`` of a category: pairs of names, as indices."""
    rows: Sequence[Any] = pairs if isinstance(pairs, list | tuple) else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in rows):
        raise DataError(f'\'flip_pairs\' is {pairs!r:.60}. Give pairs of names, such as [["left_eye", "right_eye"]].')
    unknown = [name for pair in rows for name in pair if str(name) not in names]
    if unknown:
        raise DataError(f"'flip_pairs' names {unknown!r:.80}, which are not among the keypoints {list(names)!r:.200}.")
    return tuple((names.index(str(a)), names.index(str(b))) for a, b in rows)


def read_sigmas(sigmas: object, count: int) -> list[float]:
    """``sigmas`` of a category; empty where there are none."""
    if sigmas is None or sigmas == []:
        return []
    values: Sequence[Any] = sigmas if isinstance(sigmas, list | tuple) else [None]
    if len(values) != count or not all(type(value) in (int, float) and 0 < value < 1e15 for value in values):
        raise DataError(f"A skeleton of {count} keypoints needs {count} positive sigmas, but got {sigmas!r:.80}.")
    return [float(value) for value in values]
