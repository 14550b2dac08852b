"""A small COCO keypoint data set on disk, that tests bend in one place each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.coco.coco_pose import CocoPose

NAMES = ["nose", "left_hand", "right_hand"]


def coco_content(images: int = 4, height: int = 60, width: int = 80) -> dict[str, Any]:
    """Images of one size, each with two people (one of them without keypoints) and every second with a crowd."""
    rows: list[dict[str, Any]] = []
    for image in range(images):
        whole = {"image_id": 10 + image, "category_id": 1, "iscrowd": 0}
        joints = [30, 20, 2, 35 + image, 30, 1, 0, 0, 0]
        rows += [
            {**whole, "id": 3 * image + 1, "bbox": [20, 10, 30, 40], "area": 700.0, "keypoints": joints},
            {**whole, "id": 3 * image + 2, "bbox": [55, 30, 12.5, 20], "area": 150.0, "keypoints": [0] * 9},
        ]
        if image % 2:
            rows.append({**whole, "id": 3 * image + 3, "bbox": [0, 0, 15, 9], "area": 90.0, "iscrowd": 1})
    return {
        "images": [
            {"id": 10 + i, "file_name": f"{i:04d}.png", "width": width, "height": height} for i in range(images)
        ],
        "annotations": rows,
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}],
    }


def write_images(folder: Path, content: dict[str, Any]) -> None:
    """Noise of the declared sizes, different for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in content["images"]:
        rng = np.random.default_rng(row["id"])
        cv2.imwrite(str(folder / row["file_name"]), rng.integers(0, 255, (row["height"], row["width"], 3), np.uint8))


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., CocoPose]:
    """``make_dataset(content)`` writes the json, and the images if there are none yet, and opens it."""

    def make(content: Any = None, name: str = "train.json", **options: Any) -> CocoPose:
        content = coco_content() if content is None else content
        file, folder = tmp_path / name, tmp_path / "images"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        if not folder.exists():
            write_images(folder, coco_content() if isinstance(content, str) else content)
        return CocoPose(folder, file, **options)

    return make


@pytest.fixture
def content() -> dict[str, Any]:
    """The json of four images, to bend."""
    return coco_content()


@pytest.fixture
def make_content() -> Callable[..., dict[str, Any]]:
    """`coco_content`, for tests that need another number or size of images."""
    return coco_content
