"""The one scorer of the arena, its table and its image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.curve import Point, last_points, plot, read_points, score, table, write_points
from benchmarks.peers.runner import Checkpoint
from sia.skeletons.skeleton import COCO_PERSON

POINTS = [
    Point("yolo11n", 0, 60.0, 100, 1.0, 4.0, 10.0),
    Point("yolo11n", 0, 120.5, 200, 2.0, 8.0, 20.0),
    Point("sia_pose_simple", 0, 119.0, 150, 3.0, 9.0, 30.0),
    Point("sia_pose_simple", 1, 118.0, 150, 4.0, 9.0, 30.0),
    Point("sia_pose_simple", 1, 150.0, 190, 9.0, 9.0, 90.0),  # too late
]


def truth() -> dict[str, Any]:
    joints = [value for k in range(17) for value in (10 + 3 * k, 20 + 2 * k, 2)]
    person = {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "keypoints": joints}
    return {
        "images": [{"id": 5, "file_name": "5.jpg", "width": 100, "height": 100}],
        "annotations": [{**person, "bbox": [5, 10, 60, 60], "area": 1900.0}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names), "skeleton": []}],
    }


@pytest.mark.parametrize(("shift", "expected"), [(0, 100.0), (30, 0.0)])
def test_labels_as_results_have_full_marks(tmp_path: Path, shift: int, expected: float) -> None:
    file, content = tmp_path / "val.json", truth()
    file.write_text(json.dumps(content))
    row = content["annotations"][0]
    moved = [value + shift if i % 3 == 0 else value for i, value in enumerate(row["keypoints"])]
    results = [{"image_id": 5, "category_id": 1, "bbox": row["bbox"], "score": 0.5, "keypoints": moved}]
    point = score("truth", 3, Checkpoint("001.pt", 61.23, 640), results, file)
    assert point == Point("truth", 3, 61.2, 640, expected, expected, 100.0)


def test_points_survive_their_file(tmp_path: Path) -> None:
    write_points(tmp_path / "curve.csv", POINTS)
    assert read_points(tmp_path / "curve.csv") == POINTS


def test_only_what_came_in_time_counts() -> None:
    last = {(point.contestant, point.seed): point.AP for point in last_points(POINTS, 120.0)}
    assert last == {("yolo11n", 0): 2.0, ("sia_pose_simple", 0): 3.0, ("sia_pose_simple", 1): 4.0}


def test_table_has_means_and_ranges_best_first() -> None:
    lines = table(POINTS, 120.0, {"yolo11n": 2_870_000}).splitlines()[2:]
    assert (
        lines[0]
        == "| sia_pose_simple | 0.00 | 0, 1 | 2.0 | 150 | 3.5 (3.0 to 4.0) | 9.0 (9.0 to 9.0) | 30.0 (30.0 to 30.0) |"
    )
    assert lines[1] == "| yolo11n | 2.87 | 0 | 2.0 | 200 | 2.0 | 8.0 | 20.0 |"


def test_image_is_drawn(tmp_path: Path) -> None:
    plot(POINTS, "arena S", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
