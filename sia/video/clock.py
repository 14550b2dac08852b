"""Time stamps of frames: as the file has them where it has them, and always rising."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from statistics import median_low

_FINE = 10_000
"""A tick is at most this part of a second, so that frames with the same time stamp are moved by next to nothing."""
_MOST = 1_000_000_000
"""Largest denominator of a tick that is made here: mp4 counts ticks in 32 bits."""

JUMP = Fraction(1, 4)
"""Seconds by which stamps go back at least where a recording was restarted."""


class Clock:
    """Turns the stamps of frames, in the order in which they are shown, into ticks since the start of the video.

    - A stamp is kept. One that repeats an earlier one, or goes back a little, comes one tick after its predecessor.
    - Where stamps jump back by more than `JUMP` and four frames, as in a recording that was restarted, time goes on.
    - A frame without a stamp comes an average frame after the last one, or earlier, so that those up to the next stamp
      have room.

    Args:
        unit: seconds of the file's time stamps.
        step: seconds between frames on average.
        origin: seconds, which the stamps have at the start of the video.
    """

    def __init__(self, unit: Fraction, step: Fraction, origin: Fraction) -> None:
        self._split = split(unit)
        self.tick = unit / self._split
        self.step = max(1, round(step / self.tick))
        self._home = self._offset = round(origin / self.tick)
        self._second = max(1, round(1 / self.tick))
        self._jump = max(4 * self.step, round(JUMP / self.tick))
        self._last = -1
        self._paces: deque[int] = deque(maxlen=5)

    def __call__(self, stamp: int | None, ahead: tuple[int, int] | None = None) -> int:
        """The next frame's time.

        Args:
            stamp: of the frame in the file's unit, None where it has none.
            ahead: the next stamp that is known, and how many frames without one come before it, this one included.

        Returns:
            Ticks since the start, larger than those of the frame before.
        """
        wanted = self._guess(ahead) if stamp is None else self._own(stamp)
        value = max(wanted, self._last + 1)
        if self._last >= 0 and value - self._last >= self.step / 4:
            self._paces.append(value - self._last)
        self._last = value
        return value

    def ticks(self, duration: int) -> int:
        """A duration of the file in ticks."""
        return duration * self._split

    def _own(self, stamp: int) -> int:
        home = stamp * self._split - self._home
        if self._last < home <= self._last + self._second:
            self._offset = self._home
        value = stamp * self._split - self._offset
        if value < self._last - self._jump:
            value = self._last + self.step
            self._offset = stamp * self._split - value
        return value

    def _guess(self, ahead: tuple[int, int] | None) -> int:
        if self._last < 0:
            return 0
        pace = median_low(self._paces) if self._paces else self.step
        if ahead is not None:
            stamp, frames = ahead
            pace = min(pace, (stamp * self._split - self._offset - self._last) // (frames + 1))
        return self._last + pace


class StampsAhead:
    """Stamps of what was read from the file and not shown yet, in the order of the file."""

    def __init__(self) -> None:
        self._stamps: deque[int | None] = deque(maxlen=1024)

    def __iter__(self) -> Iterator[int | None]:
        return iter(self._stamps)

    def add(self, stamp: int | None) -> None:
        """A packet was read."""
        self._stamps.append(stamp)

    def shown(self, stamp: int | None) -> None:
        """A frame was decoded: nothing that comes is earlier."""
        if stamp is not None:
            self._stamps = deque((s for s in self._stamps if s is None or s > stamp), self._stamps.maxlen)
        elif None in self._stamps:
            self._stamps.remove(None)

    def next_known(self) -> tuple[int, int] | None:
        """The earliest stamp that is known, and how many packets without one come before it."""
        known = [(stamp, place) for place, stamp in enumerate(self._stamps) if stamp is not None]
        if not known:
            return None
        stamp, place = min(known)
        return stamp, sum(earlier is None for earlier in list(self._stamps)[:place])


def split(unit: Fraction) -> int:
    """Into how many ticks a time base is divided."""
    return max(1, min(ceil(unit * _FINE), _MOST // unit.denominator))
