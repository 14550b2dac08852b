"""Unlabelled images: which they are, and that people stay on their pixels along every path."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from datasets.coco.coco_pose import CocoPose
from datasets.labels import Labels
from datasets.unlabelled import Unlabelled, Views, find_unlabelled, unlabelled_loader
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ssl import pseudo_batches
from stages.ssl.pseudo_batches import student_batch
from utils.config.declaration import AUGMENTATIONS

PAIR = Skeleton(("left_hand", "right_hand"), ((0, 1),), ((0, 1),), (0.06, 0.06))
SIZE = (96, 128)


def person(left: tuple[float, float], right: tuple[float, float]) -> Labels:
    """Whose hands are labelled."""
    points = np.array([[[*left, 2], [*right, 2]]], np.float32)
    low, high = points[0, :, :2].min(0) - 8, points[0, :, :2].max(0) + 8
    return Labels(
        np.array([[*low, *high]], np.float32), points, np.array([900], np.float32), np.zeros((0, 4), np.float32)
    )


@pytest.fixture
def dotted(tmp_path: Path) -> tuple[Unlabelled, list[Labels]]:
    """Grey images with a white disc at the left hand and a black one at the right hand."""
    files, people = [], []
    for number in range(6):
        rng = np.random.default_rng(number)
        height, width = int(rng.integers(90, 160)), int(rng.integers(90, 160))
        left, right = (tuple(rng.uniform(0.3, 0.7, 2) * (width / 2, height) + (offset, 0)) for offset in (0, width / 2))
        image = np.full((height, width, 3), 114, np.uint8)
        for (x, y), colour in ((left, 255), (right, 0)):
            # OpenCV counts from pixel centres, in 1/16 pixels
            cv2.circle(image, (round((x - 0.5) * 16), round((y - 0.5) * 16)), 4 * 16, (colour,) * 3, -1, cv2.LINE_AA, 4)
        files.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(files[-1]), image)
        people.append(person(left, right))
    return Unlabelled(tuple(files), {}, COCO_PERSON), people


def views_of(images: Unlabelled, epoch: int = 0, workers: int = 0, **options: Any) -> list[Views]:
    loader = unlabelled_loader(
        images, paths=AUGMENTATIONS, image_size=SIZE, batch_size=2, workers=workers, seed=3, **options
    )
    loader.set_epoch(epoch)
    views = list(loader)
    loader.close()
    return views


def centre_of(image: np.ndarray, sign: int) -> tuple[float, float]:
    """Of the disc that is brighter (1) or darker (-1) than the rest."""
    grey = image.astype(np.float64).mean(0)
    strength = sign * (grey - np.median(grey))
    strength = np.where(strength > strength.max() / 2, strength, 0)
    y, x = np.indices(grey.shape) + 0.5
    return float((x * strength).sum() / strength.sum()), float((y * strength).sum() / strength.sum())


def test_points_stay_on_their_pixels(dotted: tuple[Unlabelled, list[Labels]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every joint lies on its disc in every view; a mirror image swaps left and right."""
    monkeypatch.setattr(pseudo_batches, "hide_joints", lambda *_: None)
    images, people = dotted
    seen = dict.fromkeys(AUGMENTATIONS, 0)
    mirrored = 0
    for epoch in range(3):
        for views in views_of(images, epoch):
            found = [people[int(Path(file).stem)] for file in views.files]
            batch = student_batch(views, found, AUGMENTATIONS, PAIR)
            for number, matrix in enumerate(views.matrices):
                flip = np.linalg.det(matrix[:2, :2]) < 0
                mirrored += flip
                for joint in range(2):
                    x, y, v = batch.keypoints[number, 0, joint].tolist() if batch.people[number].any() else (0, 0, 0)
                    if v == 0 or not (8 < x < SIZE[1] - 8 and 8 < y < SIZE[0] - 8):
                        continue
                    path = AUGMENTATIONS[number // len(found)]
                    seen[path] += 1
                    bright = (joint == 0) != flip
                    disc = centre_of(batch.images[number].numpy(), 1 if bright else -1)
                    assert np.hypot(disc[0] - x, disc[1] - y) < (1.0 if path == "appearance" else 0.5), (path, number)
    assert min(seen.values()) > 10
    assert 0 < mirrored < 3 * 3 * 6


def test_views_are_those_of_the_same_images(dotted: tuple[Unlabelled, list[Labels]]) -> None:
    views = views_of(dotted[0])
    assert sorted(file for batch in views for file in batch.files) == sorted(map(str, dotted[0].files))
    for batch in views:
        assert batch.teacher.shape == (2, 3, *SIZE)
        assert batch.student.shape == (6, 3, *SIZE)
        for number, (scale, x, y) in enumerate(batch.letterboxes.tolist()):
            height, width = batch.sizes[number].tolist()
            assert cv2.imread(batch.files[number]).shape[:2] == (height, width)
            assert scale == pytest.approx(min(SIZE[0] / height, SIZE[1] / width))
            assert min(x, y) >= 0


def test_workers_and_ranks_change_nothing(dotted: tuple[Unlabelled, list[Labels]]) -> None:
    alone, helped = views_of(dotted[0], 1), views_of(dotted[0], 1, workers=1)
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.student, b.student)
        assert a.files == b.files
        assert a.seed == b.seed
    shares = [views_of(dotted[0], 1, rank=rank, world_size=2) for rank in range(2)]
    files = [file for share in shares for batch in share for file in batch.files]
    assert len(files) == len(set(files)) == 4


def test_what_is_labelled_or_held_out_is_left_out(
    make_dataset: Callable[..., CocoPose], content: dict[str, Any], tmp_path: Path
) -> None:
    """By content: a copy under another name is found, too."""
    halves = [{**content, "images": content["images"][a : a + 2]} for a in (0, 2)]
    for half in halves:
        ids = {row["id"] for row in half["images"]}
        half["annotations"] = [row for row in content["annotations"] if row["image_id"] in ids]
    make_dataset(content, name="all.json")  # writes the images
    fit, other = make_dataset(halves[0]), make_dataset(halves[1], name="val.json")
    folder = tmp_path / "found"
    folder.mkdir()
    shutil.copy(fit.file(0), folder / "a.png")
    shutil.copy(other.file(1), folder / "b.png")
    cv2.imwrite(str(folder / "new.png"), np.zeros((60, 80, 3), np.uint8))
    images = find_unlabelled((str(folder), str(folder / "*.png")), fit, other.files)
    assert [file.name for file in images.files[:1]] == ["new.png"]
    assert images.held_out == 2


def test_people_without_keypoints_make_a_image_partly_labelled(make_dataset: Callable[..., CocoPose]) -> None:
    fit = make_dataset()
    images = find_unlabelled((), fit, [])
    assert images.files == tuple(fit.files)
    assert [len(images.known[i]) for i in range(4)] == [2] * 4
    with pytest.raises(DataError, match="No such image or folder"):
        find_unlabelled(("nowhere",), fit, [])


def test_a_set_with_all_keypoints_has_none(make_dataset: Callable[..., CocoPose], content: dict[str, Any]) -> None:
    content["annotations"] = [row for row in content["annotations"] if any(row.get("keypoints", ()))]
    assert len(find_unlabelled((), make_dataset(content), [])) == 0


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        views_of(Unlabelled((file, file), {}, COCO_PERSON))
