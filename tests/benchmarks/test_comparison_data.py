"""The data of a comparison: YOLO's labels say the same as the COCO file they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.comparison.data import lay_out

NAMES = ["nose", "left_hand", "right_hand"]
WIDTH, HEIGHT = 80, 60


def content() -> dict[str, Any]:
    person = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 700.0}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in (7, 9)],
        "annotations": [
            {**person, "bbox": [20, 10, 30, 40], "keypoints": [30, 20, 2, 35, 30, 1, 0, 0, 0]},
            {**person, "id": 2, "bbox": [60, 40, 20, 20], "keypoints": [0] * 9},
            {**person, "id": 3, "bbox": [0, 0, 15, 9], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    for row in content()["images"]:
        cv2.imwrite(str(source / "images" / row["file_name"]), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    for split in ("train", "val"):
        (source / f"{split}.json").write_text(json.dumps(content()))
    lay_out(source, tmp_path / "compared")
    return tmp_path / "compared"


def labels(folder: Path, image_id: int) -> np.ndarray:
    text = (folder / "yolo" / "labels" / "train" / f"{image_id}.txt").read_text()
    return np.array([list(map(float, line.split())) for line in text.splitlines()])


def test_people_are_relative_to_the_image(folder: Path) -> None:
    rows = labels(folder, 7)
    assert rows.shape == (2, 5 + 9)  # the crowd is no person
    assert rows[0, :5] == pytest.approx([0, 35 / WIDTH, 30 / HEIGHT, 30 / WIDTH, 40 / HEIGHT], rel=1e-5)
    joints = rows[0, 5:].reshape(3, 3)
    assert joints[:2] == pytest.approx(np.array([[30 / WIDTH, 20 / HEIGHT, 2], [35 / WIDTH, 30 / HEIGHT, 1]]), rel=1e-5)
    assert not joints[2].any() and not rows[1, 5:].any()


def test_nothing_leaves_the_image(folder: Path) -> None:
    """Ultralytics throws away an image of which one number is above 1."""
    rows = labels(folder, 7)
    assert rows[:, 1:5].max() <= 1 and rows[:, 5:].reshape(-1, 3, 3)[..., :2].max() <= 1


def test_images_are_links_named_by_id(folder: Path) -> None:
    assert (folder / "yolo" / "labels" / "train" / "9.txt").read_text() == ""
    for split in ("train", "val"):
        names = sorted(path.name for path in (folder / "yolo" / "images" / split).iterdir())
        assert names == ["7.png", "9.png"]
    assert (folder / "yolo" / "images" / "val" / "7.png").resolve().name == "7.png"


def test_the_first_images_only(folder: Path) -> None:
    source, few = folder.parent / "source", folder.parent / "few"
    lay_out(source, few, 1)
    assert [path.name for path in (few / "yolo" / "images" / "train").iterdir()] == ["7.png"]
    assert len(list((few / "yolo" / "images" / "val").iterdir())) == 2
    assert [image["id"] for image in json.loads((few / "train.json").read_text())["images"]] == [7]
    assert len(json.loads((source / "train.json").read_text())["images"]) == 2


def test_left_and_right_change_places(folder: Path) -> None:
    data = json.loads((folder / "yolo" / "data.yaml").read_text())
    assert data["flip_idx"] == [0, 2, 1] and data["kpt_shape"] == [3, 3] and data["names"] == {"0": "person"}
