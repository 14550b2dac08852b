from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sia.people import People
from sia.runtimes.parity import compare, match

IMAGE = np.zeros((100, 100, 3), np.uint8)


def people(*corners, moved=0.0, score=0.5):
    boxes = np.array([(x, y, x + 20, y + 40) for x, y in corners], np.float32).reshape(-1, 4)
    keypoints = np.stack([boxes[:, :2] + moved, boxes[:, 2:] + moved], axis=1).astype(np.float32)
    count = len(boxes)
    return People(boxes, np.full(count, score, np.float32), keypoints, np.ones((count, 2), np.float32))


def finds(*answers):
    rest = iter(answers)
    return SimpleNamespace(predict=lambda images: [next(rest)])


def test_order_does_not_matter_and_those_that_are_far_are_not_matched():
    rows, columns = match(people((0, 0), (50, 50), (200, 0)), people((51, 50), (0, 1), (120, 0)))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_a_box_clipped_to_nothing():
    thin = people((0, 0))
    thin.boxes[0, 2:] = thin.boxes[0, :2] + 1e-4
    assert len(match(thin, people((0, 0), moved=0.01))[0]) == 1


def test_what_is_reported():
    first = finds(people((0, 0), (50, 50)), people((5, 5)))
    second = finds(people((0, 0), (50, 50), moved=0.3, score=0.6), people((90, 5)))
    found = compare(first, second, [IMAGE, IMAGE])
    assert (found.images, found.people, found.matched) == (2, 3, 2)
    assert found.largest == pytest.approx(0.3 * 2**0.5, rel=1e-4)
    assert found.median == pytest.approx(found.largest, rel=1e-4)
    assert found.moved == 1.0
    assert found.score == pytest.approx(0.1, rel=1e-4)


def test_only_a_person_that_is_sure_can_be_missed():
    for score, missed in ((0.5, 1), (0.09, 0)):
        for other in (people((90, 0)), people()):
            found = compare(finds(people((0, 0), score=score)), finds(other), [IMAGE])
            assert (found.matched, found.missed) == (0, missed)


def test_images_without_people():
    found = compare(finds(people()), finds(people()), [IMAGE])
    assert (found.people, found.matched, found.largest, found.median, found.moved, found.score) == (
        0,
        0,
        0.0,
        0.0,
        0.0,
        0.0,
    )
