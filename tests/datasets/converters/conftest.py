"""People to write in the formats of other programs: real ones where there are photographs, else drawn ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from datasets.synthetic import write_dataset


@pytest.fixture(scope="session", params=["photographs", "drawn"])
def coco(request, tmp_path_factory) -> dict[str, Any]:
    """COCO content of twelve images with people; no crowds. Not to be changed."""
    if request.param == "photographs":
        content = json.loads((request.getfixturevalue("photographs") / "coco_person" / "val.json").read_text())
    else:
        folder = tmp_path_factory.mktemp("drawn")
        write_dataset(folder, 12, 1, 96, 0)
        content = json.loads((folder / "train.json").read_text())
    rows = [row for row in content["annotations"] if not row["iscrowd"]]
    peopled = {row["image_id"] for row in rows}
    images = [image for image in content["images"] if image["id"] in peopled][:12]
    chosen = {image["id"] for image in images}
    return {**content, "images": images, "annotations": [row for row in rows if row["image_id"] in chosen]}


def people_of(content: dict[str, Any], image_id: int) -> list[dict[str, Any]]:
    """In the order of the file."""
    return [row for row in content["annotations"] if row["image_id"] == image_id]


def joints_of(row: dict[str, Any], content: dict[str, Any]) -> list[tuple[str, float, float, int]]:
    """Name, x, y, v of all keypoints."""
    points = np.array(row["keypoints"], float).reshape(-1, 3)
    names = content["categories"][0]["keypoints"]
    return [(name, float(x), float(y), int(v)) for name, (x, y, v) in zip(names, points, strict=True)]


def assert_same(imported: dict[str, Any], coco: dict[str, Any], tolerance: float, boxes: bool = True) -> None:
    """Images by name, people by their boxes or joints, all values within the tolerance in pixels."""
    names = coco["categories"][0]["keypoints"]
    assert imported["categories"][0]["keypoints"] == names
    by_name = {image["file_name"]: image for image in imported["images"]}
    assert len(by_name) == len(coco["images"])
    for image in coco["images"]:
        found = by_name[image["file_name"]]
        assert (found["width"], found["height"]) == (image["width"], image["height"])
        ours, theirs = people_of(imported, found["id"]), people_of(coco, image["id"])
        assert len(ours) == len(theirs)
        for row in theirs:
            expected = np.array(row["keypoints"], float)
            expected[np.repeat(expected[2::3] == 0, 3)] = 0
            near = [
                other
                for other in ours
                if np.abs(np.array(other["keypoints"]) - expected).max() <= tolerance
                and (not boxes or np.abs(np.array(other["bbox"]) - row["bbox"]).max() <= 2 * tolerance)
            ]
            assert near, row
