"""Heads that nobody knows again: every pixel of them is another one."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.synthetic.rendering.primitives import LABEL
from datasets.synthetic.scene.scene import SyntheticScenes, visible_extent
from sia.drawing.faces import blur_boxes, head_boxes
from sia.people import People, Source
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

HEAD = [LABEL[name] for name in ("face", "left_ear", "right_ear", "hat")]


def scene_people(index: int, hide: str = "") -> tuple[np.ndarray, People, np.ndarray]:
    """An image, the people that are in it by truth, and the boxes of their heads; some keypoints are not found."""
    scene = SyntheticScenes((240, 320), 3).scene(index)
    boxes = np.array([person.box for person in scene.people], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = np.array([person.keypoints for person in scene.people], np.float32).reshape(-1, 17, 3)
    confidences = np.where(points[..., 2] > 0, 0.8, 0.0).astype(np.float32)
    hidden = {"": [], "face": range(5), "all": range(17)}[hide]
    confidences[:, list(hidden)] = 0
    heads = []
    for owner in range(1, len(boxes) + 1):
        labels = [owner * 32 + label for label in HEAD]
        (x, y, w, h), _ = visible_extent(np.where(np.isin(scene.ids, labels), scene.ids, np.uint16(0)), owner)
        heads.append((x, y, x + w, y + h))
    people = People(boxes, np.ones(len(boxes), np.float32), points[..., :2], confidences)
    return scene.image, people, np.array(heads).reshape(-1, 4)


@pytest.mark.parametrize("hide", ["", "face", "all"])
def test_no_pixel_of_a_head_stays(hide: str) -> None:
    inside, total, area = 0, 0, []
    for index in range(30):
        image, people, heads = scene_people(index, hide)
        blurred = image.copy()
        blur_boxes(blurred, head_boxes(people, COCO_PERSON))
        changed = (blurred != image).any(-1)
        for x1, y1, x2, y2 in heads[heads[:, 2] > heads[:, 0]].round().astype(int):
            inside += changed[y1:y2, x1:x2].all()
            total += 1
        area.append(changed.mean())
    assert total > 50
    assert inside == total
    assert np.mean(area) < 0.35


def test_flat_colours_and_borders_change_too() -> None:
    image = np.full((40, 60, 3), 77, np.uint8)
    blur_boxes(image, np.array([[-5.0, -5, 20.5, 20], [50, 30, 90, 90], [70, 10, 80, 20], [5, 5, 5, 5], [0, 0, 9, 9]]))
    changed = (image != 77).any(-1)
    assert changed[:20, :21].all() and changed[30:, 50:].all()
    assert changed.sum() == 20 * 21 + 10 * 10


def test_what_is_left_is_a_few_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    other = noise.copy()
    other[::2], other[1::2] = noise[1::2], noise[::2]  # another picture with the same means
    for image in (noise, other):
        blur_boxes(image, np.array([[0.0, 0, 100, 100]]))
    assert np.abs(noise.astype(int) - other).max() <= 8


def test_people_give_themselves_with_blurred_heads() -> None:
    image, people, _ = scene_people(1)
    known = People(*(getattr(people, name) for name in ("boxes", "scores", "keypoints", "confidences")),
                   source=Source(COCO_PERSON, image.shape[:2], pixels=image))  # fmt: skip
    before = image.copy()
    blurred = known.blur_faces()
    assert (image == before).all()
    assert (blurred.image != image).any()
    assert (blurred.plot() != known.plot()).any()


def test_an_animal_without_shoulders() -> None:
    cow = Skeleton(("left_eye", "right_eye", "tail"), (), (), (0.1,) * 3, "cow")
    points = np.array([[[20, 20], [30, 20], [90, 60]]], np.float32)
    box = np.array([[10, 10, 100, 80]], np.float32)
    for confidence, inside in ((0.9, (25, 20)), (0.0, (50, 20))):
        found = People(box, np.ones(1, np.float32), points, np.full((1, 3), confidence, np.float32))
        x1, y1, x2, y2 = head_boxes(found, cow)[0]
        assert x1 < inside[0] < x2 and y1 < inside[1] < y2
