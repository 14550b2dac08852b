"""Smoothing against known movements."""

from __future__ import annotations

import numpy as np
import pytest

from sia.tracking.filters import OneEuro, runs, short_gaps, smooth_track, spikes


def movement(frames: int = 60, k: int = 5, seed: int = 0) -> np.ndarray:
    """Smooth curves of about 100 pixels, (T, K, 2)."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2, frames)[:, None, None]
    return 200 + 60 * np.sin(t * rng.uniform(1, 3, (k, 2)) + rng.uniform(0, 6, (k, 2)))


def everywhere(points: np.ndarray) -> np.ndarray:
    return np.ones(len(points), dtype=bool)


def test_offline_keeps_parabolas_exactly() -> None:
    t = np.arange(30.0)[:, None, None]
    points = 3 + 2 * t - 0.1 * t**2 + np.zeros((1, 4, 2))
    smooth, interpolated = smooth_track(points, everywhere(points), 1e6, 9, 5)
    np.testing.assert_allclose(smooth, points, atol=1e-9)
    assert not interpolated.any()


def test_offline_takes_noise_out() -> None:
    truth = movement()
    noisy = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
    smooth, _ = smooth_track(noisy, everywhere(truth), 100, 9, 5)
    assert np.abs(smooth - truth).mean() < 0.65 * np.abs(noisy - truth).mean()
    assert np.abs(np.diff(smooth - truth, 2, axis=0)).mean() < 0.2 * np.abs(np.diff(noisy - truth, 2, axis=0)).mean()


def test_short_gaps_are_bridged_and_long_ones_left() -> None:
    truth = movement()
    present = everywhere(truth)
    present[10:14] = present[30:40] = False
    holes = np.where(present[:, None, None], truth, 9e9)
    smooth, interpolated = smooth_track(holes, present, 100, 9, 6)
    assert np.flatnonzero(interpolated).tolist() == [10, 11, 12, 13]
    assert np.isnan(smooth[30:40]).all()
    known = present | interpolated
    np.testing.assert_allclose(smooth[known], truth[known], atol=2)


def test_gaps_at_the_ends_are_no_gaps() -> None:
    present = np.array([False, True, False, True, False])
    assert short_gaps(present, 3).tolist() == [False, False, True, False, False]
    assert runs(present) == [(1, 2), (3, 4)]
    assert not short_gaps(np.zeros(4, dtype=bool), 9).any()


def test_a_swap_of_two_frames_is_found_and_undone() -> None:
    truth = movement() / 10
    truth[:, 1] += 40
    swapped = truth.copy()
    swapped[20:22, [0, 1]] = truth[20:22, [1, 0]]
    found = spikes(swapped, everywhere(truth), 100, 9)
    assert set(zip(*map(list, np.nonzero(found)), strict=True)) == {(20, 0), (20, 1), (21, 0), (21, 1)}
    smooth, _ = smooth_track(swapped, everywhere(truth), 100, 9, 5)
    np.testing.assert_allclose(smooth, truth, atol=1)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_tracks_shorter_than_the_window(frames: int) -> None:
    points = movement()[:frames]
    smooth, _ = smooth_track(points, everywhere(points), 100, 9, 5)
    np.testing.assert_allclose(smooth, points, atol=2)


def run_one_euro(points: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    one_euro = OneEuro()
    return np.stack([one_euro(p, np.full(len(p), confidence), 100.0, t / 25) for t, p in enumerate(points)])


def test_one_euro_rests_with_what_rests_and_follows_what_moves() -> None:
    rng = np.random.default_rng(0)
    still = np.full((80, 3, 2), 50.0) + rng.normal(0, 1, (80, 3, 2))
    assert run_one_euro(still)[20:].std() < 0.75 * still[20:].std()
    fast = np.arange(80.0)[:, None, None] * 12 + np.zeros((1, 3, 2))
    assert np.abs(run_one_euro(fast) - fast)[20:].max() < 6  # half a frame late


def test_one_euro_trusts_confident_keypoints_more() -> None:
    step = np.zeros((10, 3, 2))
    step[5:] = 10
    assert (run_one_euro(step, 0.1)[5] < run_one_euro(step, 1.0)[5]).all()


def test_one_euro_is_the_formula_of_the_paper() -> None:
    one_euro = OneEuro(min_cutoff=1.0, beta=2.0, speed_cutoff=1.0)
    one_euro(np.array([[0.0, 0.0]]), np.ones(1), 10.0, 0.0)
    second = one_euro(np.array([[5.0, 0.0]]), np.ones(1), 10.0, 0.1)

    def share(cutoff: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / 0.1)

    speed = share(1.0) * 50
    assert second[0, 0] == pytest.approx(share(1.0 + 2.0 * speed / 10) * 5)
