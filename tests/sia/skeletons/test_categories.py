"""Skeletons of several categories."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, UNKNOWN, Skeleton
from tests.two_categories import DOG

BIRD = Skeleton.from_category({"name": "bird", "keypoints": ["beak", "left_wing", "right_wing"], "skeleton": [[1, 2]]})
DOGS = Skeleton.from_category(DOG)
BOTH = Skeleton.join([(3, BIRD), (18, DOGS)])


def test_categories_keep_what_they_are() -> None:
    assert BOTH.parts == (BIRD, DOGS)
    assert BOTH.names == ("bird.beak", "bird.left_wing", "bird.right_wing", *(f"dog.{name}" for name in DOGS.names))
    assert BOTH.flip_order == [0, 2, 1, 3, 4, 5, 6]
    assert [(category.name, category.id) for category in BOTH.categories] == [("bird", 3), ("dog", 18)]
    assert Skeleton.from_dict(json.loads(json.dumps(BOTH.to_dict()))) == BOTH
    assert "bird" in BOTH.describe_flips()
    assert "dog" in BOTH.describe_flips()


def test_one_category_is_saved_as_before() -> None:
    assert "categories" not in COCO_PERSON.to_dict()
    assert COCO_PERSON.parts == (COCO_PERSON,)
    assert COCO_PERSON.own(np.zeros((2, 17))).all()


def test_nothing_is_mirrored_where_one_category_may_not_be() -> None:
    snake = Skeleton.from_category({"name": "snake", "keypoints": ["scale_1", "scale_2"]})
    both = Skeleton.join([(1, BIRD), (2, snake)])
    assert both.flips == UNKNOWN
    assert both.describe_flips().startswith("'snake' off, since no name says left or right")
    assert both.parts[0].flip_pairs == BIRD.flip_pairs


def test_the_surest_keypoint_tells_the_class() -> None:
    """Of somebody at the border of the image, most keypoints are unsure."""
    confidences = np.array([[0.3, 0.3, 0.3, 0.4, 0.1, 0.1, 0.1], [0.9, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4]])
    assert BOTH.classes(confidences) == ["dog", "bird"]
    assert BOTH.own(confidences).tolist() == [[False] * 3 + [True] * 4, [True] * 3 + [False] * 4]
    assert BOTH.class_ids(np.zeros((0, 7))).tolist() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": BOTH.to_dict()["categories"][:1]}, "make no skeleton of 7 keypoints"),
        ({"edges": [[0, 5]]}, "join keypoints of two categories"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Skeleton.from_dict({**BOTH.to_dict(), **changes})
