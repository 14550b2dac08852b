from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from sia.video.clock import Clock, StampsAhead, split

MILLI = Fraction(1, 1000)


def times(stamps: list[int | None], unit: Fraction = MILLI, step: Fraction = Fraction(1, 25)) -> list[float]:
    clock = Clock(unit, step, Fraction(0))
    ticks = [clock(stamp) for stamp in stamps]
    assert all(a < b for a, b in itertools.pairwise(ticks))
    return [round(float(tick * clock.tick), 3) for tick in ticks]


@pytest.mark.parametrize(
    ("stamps", "right"),
    [
        ([0, 30, 100, 470], [0, 0.03, 0.1, 0.47]),  # uneven
        ([0, 67, 67, 133, 133, 467], [0, 0.067, 0.067, 0.133, 0.133, 0.467]),  # repeated: no later than the next
        ([0, 40, 30, 80], [0, 0.04, 0.04, 0.08]),  # back by less than a frame
        ([0, None, 80, None, None, 200], [0, 0.04, 0.08, 0.12, 0.16, 0.2]),
        ([None, None, None], [0, 0.04, 0.08]),
        ([9000, 9040, 0, 40, 80], [9, 9.04, 9.08, 9.12, 9.16]),  # restarted
        ([9000, 9040, 3, 9120, 9160], [9, 9.04, 9.08, 9.12, 9.16]),  # a single wrong one
        ([0, 40, 90_000], [0, 0.04, 90]),  # a long gap is one
    ],
)
def test_times(stamps: list[int | None], right: list[float]) -> None:
    assert times(stamps) == right


def test_coarse_stamps_that_repeat_are_moved_by_less_than_a_frame() -> None:
    assert times([0, 1, 1, 1, 2], Fraction(1, 25)) == [0, 0.04, 0.04, 0.04, 0.08]


def test_frames_without_stamps_fit_before_the_next_one() -> None:
    clock, ahead = Clock(MILLI, Fraction(1, 15), Fraction(0)), StampsAhead()
    stamps = [None] * 5 + [33, 100]
    for stamp in (None, None, None, 100, None, None, 33):  # as they come in the file
        ahead.add(stamp)
    found = []
    for stamp in stamps:
        found.append(clock(stamp, ahead.next_known()))
        ahead.shown(stamp)
    assert [round(float(tick * clock.tick), 3) for tick in found[5:]] == [0.033, 0.1]
    assert all(0 <= a < b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("unit", [Fraction(1, 25), MILLI, Fraction(1001, 30000), Fraction(1, 2**31 - 1), Fraction(7)])
def test_ticks_fit_into_an_mp4(unit: Fraction) -> None:
    tick = unit / split(unit)
    assert tick.denominator < 2**31
    assert tick <= MILLI or unit.denominator > 1_000_000
