"""Counts repetitions in an angle over time, as it comes: each swing there and back is one."""

from __future__ import annotations

from collections import deque
from statistics import median

LEAST_SWING = 25.0
"""Degrees: smaller movements never count."""
SHARE = 0.4
"""Of the range of late: how far back the angle must come before it has turned."""
RANGE_TIME = 10.0
"""Seconds that this range is taken over."""
_MEDIAN_TIME = 0.25
"""Seconds of the running median, which takes out keypoints that jump for a moment."""


class RepetitionCounter:
    """Hysteresis that adapts: the angle has turned when it is back from its extreme by a share of its range of late.

    Args:
        from_straight: True where every repetition begins with a straight joint, as a squat does; False where it begins
            where the first movement does.
    """

    def __init__(self, from_straight: bool = False) -> None:
        self.count = 0
        self._home = 1 if from_straight else 0  # 1 where a repetition begins with a large angle, -1 with a small one
        self._way = 0  # 1 while the angle grows, -1 while it falls, 0 at first
        self._low, self._high = 360.0, 0.0  # since it last turned
        self._raw: deque[tuple[float, float]] = deque()
        self._smooth: deque[tuple[float, float]] = deque()

    def update(self, angle: float, time: float) -> int:
        """Takes the next angle in degrees, at seconds after that before; returns the count so far."""
        value = median(_recent(self._raw, angle, time, _MEDIAN_TIME))
        recent = _recent(self._smooth, value, time, RANGE_TIME)
        swing = max(LEAST_SWING, SHARE * (max(recent) - min(recent)))
        self._low, self._high = min(self._low, value), max(self._high, value)
        if self._way >= 0 and value <= self._high - swing:
            self._turn(-1, value)
        elif self._way <= 0 and value >= self._low + swing:
            self._turn(1, value)
        return self.count

    def _turn(self, way: int, value: float) -> None:
        self._home = self._home or -way
        self.count += bool(self._way) and way == self._home
        self._way, self._low, self._high = way, value, value


def _recent(entries: deque[tuple[float, float]], value: float, time: float, seconds: float) -> list[float]:
    """Adds a value; those of the last seconds."""
    entries.append((time, value))
    while time - entries[0][0] > seconds:
        entries.popleft()
    return [entry for _, entry in entries]
