"""Hidden joints: squares on joints, grey or copied from another joint, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.augmentation import occlusion
from datasets.augmentation.occlusion import hide_joints
from datasets.labels import Labels
from sia.runtimes.letterbox import FILL


def scene(seed: int, people: int = 2) -> tuple[np.ndarray, list[Labels]]:
    """Two noisy images, `people` in the first one, five joints each."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (2, 3, 64, 80), np.uint8)
    points = np.concatenate([rng.uniform((0, 0), (80, 64), (people, 5, 2)), np.full((people, 5, 1), 2)], -1)
    points[:, 4] = 0  # not labelled
    boxes, areas = np.zeros((people, 4), np.float32), np.full(people, 900, np.float32)
    first = Labels(boxes, points.astype(np.float32), areas, boxes[:0])
    return images, [first, Labels(boxes[:0], first.keypoints[:0], areas[:0], boxes[:0])]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_only_surroundings_of_joints_change(seed: int) -> None:
    images, labels = scene(seed)
    before = images.copy()
    hide_joints(images, labels, np.random.default_rng(seed))
    mask = changed(before, images)
    assert mask[0].any()
    assert not mask[1].any()
    largest = occlusion.SIDES[1] * 30 / 2 + 1
    y, x = np.nonzero(mask[0])
    for py, px in zip(y, x, strict=True):
        # squares are moved into the image where a joint is at its border, by at most half a side
        reach = np.abs(labels[0].keypoints[:, :4, :2] - (px + 0.5, py + 0.5)).max(-1).min()
        assert reach <= 2 * largest


def test_cut_out_squares_are_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "PASTED", 0.0)
    images, labels = scene(1)
    before = images.copy()
    hide_joints(images, labels, np.random.default_rng(0))
    assert (images[0][:, changed(before, images)[0]] == FILL).all()


def test_pasted_squares_come_from_a_joint(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person with one joint in the middle: the pasted square is its own surroundings."""
    monkeypatch.setattr(occlusion, "PASTED", 1.0)
    images, labels = scene(2, people=1)
    labels[0].keypoints[0, 1:] = 0
    labels[0].keypoints[0, 0] = (40, 32, 2)
    before = images.copy()
    hide_joints(images, labels, np.random.default_rng(0))
    assert np.array_equal(images, before)


def test_nobody_and_no_joint() -> None:
    images, labels = scene(3, people=0)
    before = images.copy()
    hide_joints(images, labels, np.random.default_rng(0))
    assert np.array_equal(images, before)
    images, labels = scene(3)
    labels[0].keypoints[...] = 0
    hide_joints(images, labels, np.random.default_rng(0))


def test_how_many_are_hidden() -> None:
    """At least one labelled joint of each person, and at most the set share."""
    _, labels = scene(4)
    for seed in range(20):
        squares = occlusion._chosen(labels, (64, 80), np.random.default_rng(seed))
        assert len(squares) == 2  # one of four each: 0.4 * 4 = 1.6
        assert all(0 <= s.left <= 80 - s.side and 0 <= s.top <= 64 - s.side for s in squares)
