"""Who is who: against synthetic people whose ids are known."""

from __future__ import annotations

from collections import Counter

import numpy as np

from datasets.synthetic.motion import MovingPeople, moving_people
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON
from sia.tracking.tracker import Tracker


def people_of(clip: MovingPeople, frame: int, chosen: list[int], score: float = 0.9) -> People:
    points = clip.keypoints[frame, chosen, :, :2].astype(np.float32)
    confidences = np.where(clip.keypoints[frame, chosen, :, 2] > 0, 0.9, 0.05).astype(np.float32)
    return People(
        clip.boxes[frame, chosen].astype(np.float32), np.full(len(chosen), score, np.float32), points, confidences
    )


def in_view(clip: MovingPeople, frame: int) -> list[int]:
    return np.flatnonzero((clip.keypoints[frame, ..., 2] > 0).sum(-1) >= 8).tolist()


def test_ids_stay_while_people_cross_and_are_missed() -> None:
    clip, rng = moving_people(1, 5, 5.0), np.random.default_rng(0)
    tracker, owners = Tracker(COCO_PERSON, 0.3), {}
    for t in range(len(clip.keypoints)):
        chosen = [p for p in in_view(clip, t) if rng.random() > 0.15]
        rng.shuffle(chosen)
        given = people_of(clip, t, chosen)
        found = tracker.update(given, t / clip.rate)
        for points, number in zip(found.people.keypoints, found.ids.tolist(), strict=True):
            row = next(i for i, own in enumerate(given.keypoints) if (own == points).all())
            if number:
                owners.setdefault(number, Counter())[chosen[row]] += 1
    assert len(owners) == 5
    assert all(count.most_common(1)[0][1] >= 0.9 * count.total() for count in owners.values())


def test_a_doubtful_person_continues_a_track_but_starts_none() -> None:
    clip = moving_people(0, 3, 1.0)
    chosen = in_view(clip, 10)
    tracker = Tracker(COCO_PERSON, 0.3)
    assert len(tracker.update(people_of(clip, 10, chosen, 0.2), 0.0).ids) == 0
    first = tracker.update(people_of(clip, 10, chosen), 0.04).ids
    tracker.update(people_of(clip, 11, chosen), 0.08)
    assert tracker.update(people_of(clip, 12, chosen, 0.2), 0.12).ids.tolist() == [1 + i for i in range(len(first))]
    assert len(tracker.update(people_of(clip, 13, chosen, 0.05), 0.16).ids) == 0


def test_a_second_frame_has_to_confirm_someone_new() -> None:
    clip = moving_people(0, 3, 1.0)
    one = in_view(clip, 5)[0]
    tracker = Tracker(COCO_PERSON, 0.3)
    assert tracker.update(people_of(clip, 5, [one]), 0.0).ids.tolist() == [1]
    for frame, ids in ((6, [1, 0]), (7, [1, 2])):
        both = people_of(clip, frame, [one, one])
        both.keypoints[1] += 300
        both.boxes[1] += 300
        assert tracker.update(both, 0.04 * (frame - 5)).ids.tolist() == ids


def test_someone_found_twice_counts_once() -> None:
    clip = moving_people(0, 3, 1.0)
    one = in_view(clip, 5)[0]
    twice = people_of(clip, 5, [one, one])
    twice.keypoints[1] += 0.5
    assert len(Tracker(COCO_PERSON, 0.3).update(twice, 0.0).ids) == 1


def test_a_track_is_forgotten_after_a_while() -> None:
    clip = moving_people(0, 3, 1.0)
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


def test_the_moving_people_are_what_they_say() -> None:
    clip, again = moving_people(3, 4, 2.0, rate=20), moving_people(3, 4, 2.0, rate=20)
    assert (clip.keypoints == again.keypoints).all()
    assert clip.keypoints.shape == (40, 4, 17, 3)
    seen = clip.keypoints[..., 2] > 0
    assert seen.mean() > 0.3
    low, high = np.repeat(clip.boxes[..., None, :2], 17, 2)[seen], np.repeat(clip.boxes[..., None, 2:], 17, 2)[seen]
    assert ((clip.keypoints[seen][:, :2] >= low) & (clip.keypoints[seen][:, :2] <= high)).all()
    steps = np.diff(clip.keypoints[..., :2], axis=0)[seen[1:] & seen[:-1]]
    assert np.abs(steps).max() < 40  # nobody jumps
