from __future__ import annotations

import numpy as np
import pytest

from sia.motion.repetitions import RepetitionCounter


def counted(angles: np.ndarray, rate: float, **options: bool) -> list[int]:
    counter = RepetitionCounter(**options)
    return [counter.update(float(angle), frame / rate) for frame, angle in enumerate(angles)]


def swings(repetitions: int, period: float, depth: float, rate: float, rest: float = 1.0) -> np.ndarray:
    times = np.arange(0, repetitions * period + 2 * rest, 1 / rate) - rest
    return 175 - depth * (1 - np.cos(2 * np.pi * times.clip(0, repetitions * period) / period)) / 2


@pytest.mark.parametrize("rate", [10, 30])
@pytest.mark.parametrize(("period", "depth"), [(1.0, 70), (2.0, 110), (4.0, 60)])
@pytest.mark.parametrize("noise", [0, 8])
def test_ten_of_ten(rate: float, period: float, depth: float, noise: float) -> None:
    angles = swings(10, period, depth, rate)
    angles += np.random.default_rng(0).normal(0, noise, len(angles))
    angles[::17] = 60  # a leg taken for another for a moment
    assert counted(angles, rate, from_straight=True)[-1] == 10
    assert counted(angles, rate)[-1] == 10


def test_each_counts_on_the_way_back() -> None:
    counts = counted(swings(2, 2.0, 100, 20, rest=1.0), 20)
    assert counts[: 2 * 20] == [0] * 40  # down to the lowest point at 2 s
    assert counts[3 * 20] == 1


def test_what_begins_bent_counts_when_it_is_bent_again() -> None:
    press = 250 - swings(3, 2.0, 90, 20)  # 75 degrees, up to 165 and back
    assert counted(press, 20)[-1] == 3
    assert counted(press, 20, from_straight=True)[-1] == 2  # straight, bent, straight


def test_small_and_half_movements_do_not_count() -> None:
    assert counted(swings(10, 2.0, 20, 20), 20)[-1] == 0
    halves = np.concatenate([swings(2, 2.0, 100, 20, 0), swings(3, 1.0, 30, 20, 0)])
    assert counted(halves, 20)[-1] == 2
