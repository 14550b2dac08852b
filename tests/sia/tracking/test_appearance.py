"""People who come back are known again, and strangers are not taken for them: rendered walks with known poses."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clips import Shot, absence, render
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from sia.tracking.appearance import Wardrobe, likeness
from sia.tracking.tracker import Tracker

SECONDS, RATE = 6.5, 8.0


def found(shot: Shot, rng: np.random.Generator) -> tuple[People, np.ndarray]:
    """What a model may find: noisy keypoints, now and then nobody; and who each is."""
    seen = (shot.keypoints[..., 2] > 0).sum(-1) >= 6
    rows = np.flatnonzero(seen & (rng.random(len(seen)) > 0.05))
    boxes, points = shot.boxes[rows], shot.keypoints[rows]
    size = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(-1))[:, None, None]
    places = points[..., :2] + rng.normal(0, 0.02, (len(rows), 17, 2)) * size
    confidences = np.array([0.05, 0.5, 0.9])[points[..., 2].astype(int)]
    scores = np.full(len(rows), 0.8)
    return People(*(a.astype(np.float32) for a in (boxes, scores, places, confidences))), rows


def ids_of(seed: int, memory: float, stranger: bool = False) -> dict[tuple[int, bool], set[int]]:
    """The ids that each actor had before and after the absence."""
    rng, tracker = np.random.default_rng(seed), Tracker(COCO_PERSON, 0.5, memory)
    ids: dict[tuple[int, bool], set[int]] = {}
    for shot in render(absence(seed, stranger=stranger), SECONDS, seed, RATE):
        people, rows = found(shot, rng)
        tracked = tracker.update(people, shot.time, shot.image)
        for points, number in zip(tracked.people.keypoints, tracked.ids.tolist(), strict=True):
            who = rows[next(i for i, own in enumerate(people.keypoints) if (own == points).all())]
            ids.setdefault((int(who), shot.time > 3), set()).update({number} - {0})
    return ids


@pytest.mark.parametrize("seed", range(5))
def test_an_id_stays_through_three_seconds_of_absence(seed: int) -> None:
    ids = ids_of(seed, 30.0)
    assert len(ids[0, False]) == 1
    assert ids[0, True] == ids[0, False]
    assert ids[1, True] == ids[1, False] != ids[0, True]


@pytest.mark.parametrize("seed", [5, 6])
def test_a_stranger_gets_a_new_id(seed: int) -> None:
    ids = ids_of(seed, 30.0, stranger=True)
    assert len(ids[2, True]) == 1
    assert not ids[2, True] & (ids[0, False] | ids[1, False])


def test_without_memory_and_after_it_someone_back_is_someone_new() -> None:
    for memory in (0.0, 2.5):
        ids = ids_of(0, memory)
        assert len(ids[0, True]) == 1 and not ids[0, True] & ids[0, False]


def test_colours_of_trunk_and_legs() -> None:
    image = np.full((200, 100, 3), 128, np.uint8)
    image[:100], image[100:] = (200, 30, 30), (30, 30, 160)
    points = np.full((17, 2), 50.0)
    points[5:7], points[11:13], points[13:15], points[15:17] = (
        [[35, 40], [65, 40]], [[40, 95], [60, 95]], [[40, 140], [60, 140]], [[40, 190], [60, 190]]
    )  # fmt: skip
    wardrobe, box = Wardrobe(COCO_PERSON), np.array([0.0, 0, 100, 200])
    dressed = wardrobe.measure(image, points, np.ones(17), box)
    darker = wardrobe.measure((image * 0.9).astype(np.uint8), points, np.ones(17), box)
    other = wardrobe.measure(image[::-1], points, np.ones(17), box)
    assert likeness(dressed, dressed) == pytest.approx(1, abs=1e-5)
    assert likeness(dressed, darker) > 0.6 > likeness(dressed, other)
    only_trunk = wardrobe.measure(image, points, np.arange(17) < 12, box)
    assert likeness(dressed, only_trunk) == 0
    nobody = Wardrobe(Skeleton(("a", "b"), (), (), (0.1, 0.1)))
    assert not nobody.measure(image, points[:2], np.ones(2), box).any()
