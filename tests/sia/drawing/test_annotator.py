from __future__ import annotations

import numpy as np
import pytest

from sia.drawing.annotator import Palette, PoseAnnotator, sides_of
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

K = COCO_PERSON.num_keypoints


def people(n: int, k: int = K, span: float = 60.0, seed: int = 0) -> People:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (n, 2))
    boxes = np.concatenate([corner, corner + span], axis=1).astype(np.float32)
    points = (corner[:, None] + rng.uniform(0, span, (n, k, 2))).astype(np.float32)
    return People(boxes, np.linspace(0.9, 0.5, n, dtype=np.float32), points, np.full((n, k), 0.9, np.float32))


def blank(height: int = 100, width: int = 120) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def test_leaves_the_input_alone_and_draws_on_a_copy() -> None:
    image = blank()
    drawn = PoseAnnotator(COCO_PERSON).draw(image, people(2))
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != 90).any()


def test_nobody_changes_nothing() -> None:
    assert (PoseAnnotator(COCO_PERSON).draw(blank(), people(0)) == 90).all()


def test_a_read_only_image_can_be_drawn_on() -> None:
    image = blank()
    image.flags.writeable = False
    PoseAnnotator(COCO_PERSON).draw(image, people(1))


def test_keypoints_below_the_threshold_are_not_drawn() -> None:
    found = people(1)
    unsure = People(found.boxes, found.scores, found.keypoints, np.full((1, K), 0.2, np.float32))
    assert (PoseAnnotator(COCO_PERSON, 0.3, boxes=False).draw(blank(), unsure) == 90).all()
    assert (PoseAnnotator(COCO_PERSON, 0.1, boxes=False).draw(blank(), unsure) != 90).any()


@pytest.mark.parametrize(("visible", "filled"), [(None, True), (0.9, True), (0.1, False)])
def test_what_is_hidden_is_a_ring(visible: float | None, filled: bool) -> None:
    dot = Skeleton(("tip",), (), (), (0.05,))
    told = None if visible is None else np.full((1, 1), visible, np.float32)
    box, point = np.array([[50, 50, 750, 750]], np.float32), np.array([[[400.5, 400.5]]], np.float32)
    found = People(box, np.ones(1, np.float32), point, np.ones((1, 1), np.float32), visibilities=told)
    drawn = PoseAnnotator(dot, boxes=False).draw(blank(800, 800), found)
    assert (drawn[400, 400].tolist() == list(Palette.of(dot).joints[0])) == filled
    assert (drawn[400, 400] == 255).all() != filled


@pytest.mark.parametrize("wild", [-1e9, -50.0, 500.0, 1e9, np.inf, np.nan])
def test_joints_outside_of_the_image_and_wild_ones(wild: float) -> None:
    found = people(1)
    found.keypoints[0, 5:9] = wild
    assert (PoseAnnotator(COCO_PERSON).draw(blank(), found) != 90).any()


def test_a_joint_is_drawn_where_it_is() -> None:
    dot = Skeleton(("tip",), (), (), (0.05,))
    found = People(
        np.array([[0, 0, 100, 100]], np.float32),
        np.ones(1, np.float32),
        np.array([[[40.5, 30.5]]], np.float32),  # the centre of pixel (40, 30)
        np.ones((1, 1), np.float32),
    )
    drawn = PoseAnnotator(dot, boxes=False).draw(blank(), found)
    rows, columns = np.nonzero((drawn != 90).any(axis=2))
    assert (rows.mean(), columns.mean()) == pytest.approx((30, 40), abs=0.25)  # a slip of the frame would be 0.5


def test_left_is_cool_and_right_is_warm() -> None:
    palette = Palette.of(COCO_PERSON)
    for index, name in enumerate(COCO_PERSON.names):
        red, _, blue = palette.joints[index]
        if "left" in name:
            assert blue > red, name
        if "right" in name:
            assert red > blue, name


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("right_paw", "left_paw", "tail"), ["right", "left", "middle"]),
        (("l_ear", "r_ear", "snout"), ["left", "right", "middle"]),
    ],
)
def test_sides_of_other_skeletons(names: tuple[str, ...], sides: list[str]) -> None:
    assert sides_of(Skeleton(names, ((0, 2),), ((0, 1),), (0.1, 0.1, 0.1))) == sides


@pytest.mark.parametrize("k", [1, 2, 40])
def test_any_skeleton(k: int) -> None:
    skeleton = Skeleton(tuple(f"p{i}" for i in range(k)), tuple((i, i + 1) for i in range(k - 1)), (), (0.05,) * k)
    assert (PoseAnnotator(skeleton).draw(blank(), people(3, k)) != 90).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (8, 8), (1500, 2000)])
def test_any_size_of_image(size: tuple[int, int]) -> None:
    assert PoseAnnotator(COCO_PERSON).draw(blank(*size), people(2)).shape == (*size, 3)


def test_limbs_grow_with_the_person() -> None:
    def painted(span: float) -> int:
        annotator = PoseAnnotator(COCO_PERSON, boxes=False)
        return int((annotator.draw(blank(1000, 1000), people(1, span=span)) != 90).any(axis=2).sum())

    assert painted(900) > 30 * painted(90)  # longer and thicker: more than ten times
