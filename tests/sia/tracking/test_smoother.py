"""The smoothers of a running video: with a delay, the same as over whole tracks."""

from __future__ import annotations

import numpy as np
import pytest

from sia.people import People
from sia.tracking.filters import smooth_track
from sia.tracking.smoother import Offline, Online, make_smoother
from sia.tracking.tracker import TrackedPeople


def frame(points: np.ndarray, ids: list[int], score: float = 0.8) -> TrackedPeople:
    n = len(ids)
    boxes = np.tile(np.array([0, 0, 100, 100], np.float32), (n, 1))
    people = People(boxes, np.full(n, score, np.float32), points.astype(np.float32), np.full((n, 4), 0.9, np.float32))
    return TrackedPeople(people, np.array(ids, dtype=np.int64), np.zeros(n, dtype=bool))


def clip(frames: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy people with spikes (T, 2, 4, 2), and when each is found (T, 2)."""
    rng = np.random.default_rng(0)
    t = np.arange(frames)[:, None, None, None] / 25
    points = 50 + 30 * np.sin(t * rng.uniform(1, 4, (2, 4, 2))) + rng.normal(0, 1, (frames, 2, 4, 2))
    points[rng.random((frames, 2, 4)) < 0.02] += 40
    present = rng.random((frames, 2)) > 0.1
    present[40:55, 1] = False
    return points, present


def through(smoother, points: np.ndarray, present: np.ndarray) -> list[tuple[int, float, TrackedPeople]]:
    done = []
    for t in range(len(points)):
        rows = np.flatnonzero(present[t])
        done += smoother.push(t, frame(points[t, rows], (rows + 1).tolist()), t / 25)
    return [*done, *smoother.finish()]


def test_offline_with_a_delay_is_offline_over_the_whole_track() -> None:
    points, present = clip()
    smoother = Offline(25.0)
    done = through(smoother, points, present)
    assert [t for t, _, _ in done] == list(range(len(points)))
    assert [time for _, time, _ in done] == [t / 25 for t in range(len(points))]
    for person in range(2):
        whole, interpolated = smooth_track(points[:, person], present[:, person], 100.0, smoother.window, smoother.gap)
        for t, _, tracked in done:
            rows = np.flatnonzero(tracked.ids == person + 1)
            assert len(rows) == int(present[t, person] or interpolated[t])
            for row in rows:
                assert tracked.interpolated[row] == interpolated[t]
                np.testing.assert_allclose(tracked.people.keypoints[row], whole[t], atol=1e-3)


def test_offline_delay_is_bounded() -> None:
    points, _ = clip()
    smoother = Offline(25.0)
    held = [t - done[0][0] for t in range(90) if (done := list(smoother.push(t, frame(points[t], [1, 2]), t / 25)))]
    assert set(held) == {smoother.delay}
    assert smoother.delay < 25


def test_bridged_people_take_the_lower_score() -> None:
    smoother = Offline(25.0)
    points = np.zeros((1, 4, 2))
    frames = [frame(points, [7], 0.9), frame(points[:0], []), frame(points, [7], 0.5)]
    done = [entry for t, tracked in enumerate(frames) for entry in smoother.push(t, tracked, t / 25)]
    interpolated = [*done, *smoother.finish()][1][2]
    assert interpolated.ids.tolist() == [7]
    assert interpolated.interpolated.tolist() == [True]
    assert interpolated.people.scores.tolist() == [0.5]


def test_online_has_no_delay_and_keeps_people_apart() -> None:
    points, present = clip()
    done = through(Online(), points, present)
    assert [t for t, _, _ in done] == list(range(len(points)))
    assert all((tracked.ids == np.flatnonzero(present[t]) + 1).all() for t, _, tracked in done)
    alone = through(Online(), points[:, :1], present[:, :1])
    for (_, _, both), (_, _, one) in zip(done, alone, strict=True):
        rows = np.flatnonzero(both.ids == 1)
        np.testing.assert_allclose(both.people.keypoints[rows], one.people.keypoints, atol=1e-4)


@pytest.mark.parametrize("kind", ["online", "offline"])
def test_people_without_an_id_stay_as_they_are(kind: str) -> None:
    points, _ = clip(12)
    smoother = make_smoother(kind, 25.0)
    done = [entry for t in range(12) for entry in smoother.push(t, frame(points[t, :1], [0]), t / 25)]
    for t, _, tracked in [*done, *smoother.finish()]:
        np.testing.assert_allclose(tracked.people.keypoints, points[t, :1], atol=1e-4)


def test_none_changes_nothing() -> None:
    points, present = clip(20)
    for t, _, tracked in through(make_smoother("none", 25.0), points, present):
        np.testing.assert_allclose(tracked.people.keypoints, points[t, present[t]], atol=1e-4)
