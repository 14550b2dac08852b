"""Smooths the keypoints of one person over the frames of a video: One-Euro as they come, Savitzky-Golay afterwards.

T: frames, K: keypoints. Coordinates are in any one unit of length; sizes are in the same one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SPIKE = 0.08
"""A keypoint further than this fraction of the person's size from its median over the window may be a spike."""
SPREADS = 3.0
"""It is one where it is also further away than this many robust standard deviations (Hampel's rule)."""
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): slow movement is smoothed, fast one followed.

    Speeds are in sizes of the person a second, so that near and far people are treated alike. A keypoint of little
    confidence is smoothed more.

    Args:
        min_cutoff: Hz, of a keypoint that rests.
        beta: Hz by which a speed of one size a second raises it.
        speed_cutoff: Hz, of the estimated speed.
    """

    def __init__(self, min_cutoff: float = 1.5, beta: float = 20.0, speed_cutoff: float = 1.0) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._last: tuple[Floats, Floats, Floats, float] | None = None  # smooth and raw points, their speed, the time

    def __call__(self, points: Floats, confidences: Floats, size: float, time: float) -> Floats:
        """The smoothed points of the next frame.

        Args:
            points: (K, 2).
            confidences: (K,) in [0, 1].
            size: of the person, the square root of the area of the box.
            time: seconds, later than that of the frame before.
        """
        points = np.asarray(points, np.float64)
        if self._last is None:
            self._last = points, points, np.zeros(points.shape), time
            return points
        smooth, raw, speed, before = self._last
        step = max(time - before, 1e-3)
        speed = speed + _share(np.array(self.speed_cutoff), step) * ((points - raw) / step - speed)
        fast = np.hypot(*speed.T) / max(size, 1e-6)
        cutoff = (self.min_cutoff + self.beta * fast) * (0.4 + 0.6 * np.clip(confidences, 0, 1))
        smooth = smooth + _share(cutoff, step)[:, None] * (points - smooth)
        self._last = smooth, points, speed, time
        return smooth


def _share(cutoff: Floats, step: float) -> Floats:
    """How much of the new value a first-order low pass takes."""
    turn = 2 * math.pi * cutoff * step
    return np.asarray(turn / (turn + 1))


def smooth_track(points: Floats, present: Mask, size: float, window: int, longest: int) -> tuple[Floats, Mask]:
    """Savitzky-Golay over a whole track, with spikes taken out and short gaps bridged by straight lines.

    Args:
        points: (T, K, 2); anything where the person is not present.
        present: (T,) whether the person was found.
        size: of the person, the square root of the area of the box.
        window: frames of the filter, odd, at least 3.
        longest: frames of the longest gap that is bridged.

    Returns:
        (T, K, 2) points, NaN where there is nobody; (T,) where a gap was bridged.
    """
    interpolated = short_gaps(present, longest)
    known = present | interpolated
    good = present[:, None] & ~spikes(points, present, size, window)
    filled = _interpolate(points, good, present, known)
    for first, last in runs(known):
        filled[first:last] = _savitzky_golay(filled[first:last], window)
    return filled, interpolated


def runs(mask: Mask) -> list[tuple[int, int]]:
    """First and one past the last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def short_gaps(present: Mask, longest: int) -> Mask:
    """(T,) True in gaps of at most `longest` frames between two frames with the person."""
    gaps = np.zeros(len(present), dtype=bool)
    for first, last in runs(~present):
        if first > 0 and last < len(present) and last - first <= longest:
            gaps[first:last] = True
    return gaps


def spikes(points: Floats, present: Mask, size: float, window: int) -> Mask:
    """(T, K) keypoints far off for a moment, such as a wrist that jumps to the other arm (Hampel's rule).

    Args:
        points: (T, K, 2).
        present: (T,); the other frames are neither evaluated nor used.
        size: of the person.
        window: frames that the median is taken over, odd.
    """
    found = np.zeros(points.shape[:2], dtype=bool)
    for first, last in runs(present):
        if last - first < 3:
            continue
        half = min(window // 2, (last - first - 1) // 2)
        padded = np.pad(points[first:last], ((half, half), (0, 0), (0, 0)), mode="reflect", reflect_type="odd")
        around = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)  # (t, K, 2, window)
        middle = np.median(around, axis=-1)
        spread = np.hypot(*np.moveaxis(around - middle[..., None], 2, 0))
        limit = np.maximum(SPREADS * _NORMAL * np.median(spread, axis=-1), SPIKE * size)
        found[first:last] = np.hypot(*np.moveaxis(points[first:last] - middle, 2, 0)) > limit
    return found


def _interpolate(points: Floats, good: Mask, present: Mask, known: Mask) -> Floats:
    """Straight lines through what is missing; NaN outside `known`."""
    filled = np.where(present[:, None, None], points, np.nan).astype(np.float64)
    frames = np.arange(len(points))
    for first, last in runs(known):
        part = slice(first, last)
        for k in np.flatnonzero(~good[part].all(axis=0)):
            fine = good[part, k] if good[part, k].any() else present[part]
            for axis in (0, 1):
                filled[part, k, axis] = np.interp(frames[part], frames[part][fine], filled[part, k, axis][fine])
    return filled


def _savitzky_golay(points: Floats, window: int) -> Floats:
    """Order 2; a run shorter than the window gets a shorter window, one under 3 frames none."""
    length = min(window, len(points) - 1 + len(points) % 2)
    if length < 3:
        return points
    return np.asarray(savgol_filter(points, length, min(2, length - 2), axis=0, mode="interp"))
