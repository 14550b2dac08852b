"""Who is who: against walking people whose ids are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON
from sia.tracking.tracker import Tracker

HEIGHT, WIDTH, RATE = 480, 640, 25.0


@dataclass
class Walkers:
    """Keypoints (T, P, 17, 3) in pixels, visible inside the image only, and boxes (T, P, 4)."""

    keypoints: np.ndarray
    boxes: np.ndarray


def walkers(seed: int, people: int, seconds: float) -> Walkers:
    """People of different height who swing their limbs and walk across the image, half of them each way."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE))[:, None] / RATE
    heights = rng.uniform(150, 300, people)
    bodies = rng.uniform((-0.15, -0.5), (0.15, 0.5), (people, 17, 2)) * heights[:, None, None]
    side = np.where(np.arange(people) % 2, 1.0, -1.0)
    centres = WIDTH / 2 + rng.uniform(-60, 60, people) + side * rng.uniform(50, 110, people) * (times - seconds / 2)
    swing = 0.04 * heights[:, None] * np.sin(8 * times[..., None] + rng.uniform(0, 6, (people, 17)))
    points = np.stack(
        [centres[..., None] + bodies[..., 0] + swing, np.broadcast_to(250 + bodies[..., 1], swing.shape)], -1
    )
    inside = ((points >= 0) & (points < (WIDTH, HEIGHT))).all(-1)
    keypoints = np.concatenate([points * inside[..., None], 2.0 * inside[..., None]], -1)
    corners = np.concatenate([points.min(2) - 10, points.max(2) + 10], -1)
    return Walkers(keypoints, corners.clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT)))


def people_of(clip: Walkers, frame: int, chosen: list[int], score: float = 0.9) -> People:
    points = clip.keypoints[frame, chosen, :, :2].astype(np.float32)
    confidences = np.where(clip.keypoints[frame, chosen, :, 2] > 0, 0.9, 0.05).astype(np.float32)
    return People(
        clip.boxes[frame, chosen].astype(np.float32), np.full(len(chosen), score, np.float32), points, confidences
    )


def in_view(clip: Walkers, frame: int) -> list[int]:
    return np.flatnonzero((clip.keypoints[frame, ..., 2] > 0).sum(-1) >= 8).tolist()


def test_ids_stay_while_people_cross_and_are_missed() -> None:
    clip, rng = walkers(1, 5, 5.0), np.random.default_rng(0)
    tracker, owners = Tracker(COCO_PERSON, 0.3), {}
    for t in range(len(clip.keypoints)):
        chosen = [p for p in in_view(clip, t) if rng.random() > 0.15]
        rng.shuffle(chosen)
        given = people_of(clip, t, chosen)
        found = tracker.update(given, t / RATE)
        for points, number in zip(found.people.keypoints, found.ids.tolist(), strict=True):
            row = next(i for i, own in enumerate(given.keypoints) if (own == points).all())
            if number:
                owners.setdefault(number, Counter())[chosen[row]] += 1
    assert len(owners) == 5
    assert all(count.most_common(1)[0][1] >= 0.9 * count.total() for count in owners.values())


def test_a_doubtful_person_continues_a_track_but_starts_none() -> None:
    clip = walkers(0, 3, 1.0)
    chosen = in_view(clip, 10)
    tracker = Tracker(COCO_PERSON, 0.3)
    assert len(tracker.update(people_of(clip, 10, chosen, 0.2), 0.0).ids) == 0
    first = tracker.update(people_of(clip, 10, chosen), 0.04).ids
    tracker.update(people_of(clip, 11, chosen), 0.08)
    assert tracker.update(people_of(clip, 12, chosen, 0.2), 0.12).ids.tolist() == [1 + i for i in range(len(first))]
    assert len(tracker.update(people_of(clip, 13, chosen, 0.05), 0.16).ids) == 0


def test_a_second_frame_has_to_confirm_someone_new() -> None:
    clip = walkers(0, 3, 1.0)
    one = in_view(clip, 5)[0]
    tracker = Tracker(COCO_PERSON, 0.3)
    assert tracker.update(people_of(clip, 5, [one]), 0.0).ids.tolist() == [1]
    for frame, ids in ((6, [1, 0]), (7, [1, 2])):
        both = people_of(clip, frame, [one, one])
        both.keypoints[1] += 300
        both.boxes[1] += 300
        assert tracker.update(both, 0.04 * (frame - 5)).ids.tolist() == ids


@pytest.mark.parametrize("rate", [1.25, 4.0, 4.9, 25.0])
def test_someone_new_gets_an_id_at_any_frame_rate(rate: float) -> None:
    clip = walkers(0, 3, 1.0)
    one = in_view(clip, 5)[0]
    tracker, found = Tracker(COCO_PERSON, 0.3), []
    for frame in range(5):
        both = people_of(clip, 5, [one, one] if frame else [one])
        both.keypoints[1:] += 300
        both.boxes[1:] += 300
        found.append(tracker.update(both, frame / rate).ids.tolist())
    assert found == [[1], [1, 0], [1, 2], [1, 2], [1, 2]]


def test_someone_found_twice_counts_once() -> None:
    clip = walkers(0, 3, 1.0)
    one = in_view(clip, 5)[0]
    twice = people_of(clip, 5, [one, one])
    twice.keypoints[1] += 0.5
    assert len(Tracker(COCO_PERSON, 0.3).update(twice, 0.0).ids) == 1


def test_a_track_is_forgotten_after_a_while() -> None:
    clip = walkers(0, 3, 1.0)
    chosen = in_view(clip, 5)[:1]
    for wait, number in ((0.8, 1), (3.0, 0)):
        tracker = Tracker(COCO_PERSON, 0.3)
        tracker.update(people_of(clip, 5, chosen), 0.0)
        assert tracker.update(people_of(clip, 5, chosen), wait).ids.tolist() == [number]


def test_nobody() -> None:
    nobody = People(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 17, 2), (0, 17))))
    tracker = Tracker(COCO_PERSON, 0.3)
    assert len(tracker.update(nobody, 0.0).people) == 0
    assert len(tracker.update(nobody, 0.1).people) == 0
