"""Results survive the disk, and files of other tools are taken or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sia.coco.coco_files import GroundTruth
from sia.errors import DataError
from sia.evaluation.predictions import Predictions, people_of_rows, read_predictions
from sia.skeletons.skeleton import Skeleton

SKELETON = Skeleton(("a", "b"), ((0, 1),), (), (0.1, 0.1), category="stick")
TRUTH = GroundTruth([3, 5], [], 1, frozenset({1}), frozenset({1}))


def people() -> Predictions:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((3, 2, 2)) * 50, axis=1).reshape(3, 4)
    points = rng.random((3, 2, 2)) * 60 - 5
    return Predictions(np.array([3, 3, 5]), corners, rng.random(3), points, rng.random((3, 2)), rng.random((3, 2)))


def test_round_trip(tmp_path: Path) -> None:
    people().save(tmp_path / "test.json", 1)
    again = read_predictions(tmp_path / "test.json", TRUTH, SKELETON)
    for name in ("image_ids", "boxes", "scores", "keypoints", "confidences", "variances"):
        np.testing.assert_allclose(getattr(again, name), getattr(people(), name), rtol=1e-6, err_msg=name)
    assert len(again.of_image(3)) == 2


def test_what_is_not_written_can_be_what_is_read(tmp_path: Path) -> None:
    """To the last bit, in the same order; confidences beyond their range, too."""
    before = people().select(np.array([2, 0, 1]))
    before.confidences[0, 0] = 1.5
    before.save(tmp_path / "test.json", 1)
    again = read_predictions(tmp_path / "test.json", TRUTH, SKELETON)
    for name, column in vars(before.as_read()).items():
        np.testing.assert_array_equal(column, getattr(again, name), err_msg=name)


def test_people_are_joined_and_told_apart_by_their_images() -> None:
    both = Predictions.join([people(), Predictions.nobody(2)])
    assert len(both) == 3 and both.of_images([3]).image_ids.tolist() == [3, 3]
    assert len(Predictions.nobody(2).of_images([3])) == 0


def test_results_of_another_tool(tmp_path: Path) -> None:
    row = {"image_id": 5, "category_id": 1, "score": 0.5, "keypoints": [1, 2, 0.3, 7, 9, 0.8]}
    (tmp_path / "other.json").write_text(json.dumps([row]))
    found = read_predictions(tmp_path / "other.json", TRUTH, SKELETON)
    assert found.boxes.tolist() == [[1, 2, 7, 9]]
    assert np.isnan(found.variances).all()


def test_nobody(tmp_path: Path) -> None:
    people().map(lambda rows: rows[:0]).save(tmp_path / "none.json", 1)
    assert len(read_predictions(tmp_path / "none.json", TRUTH, SKELETON)) == 0


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_broken_sidecar(tmp_path: Path, content: bytes) -> None:
    people().save(tmp_path / "a.json", 1)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz can't be used"):
        read_predictions(tmp_path / "a.json", TRUTH, SKELETON)


def test_a_sidecar_of_other_results(tmp_path: Path) -> None:
    people().save(tmp_path / "a.json", 1)
    people().map(lambda rows: rows[:2]).save(tmp_path / "b.json", 1)
    (tmp_path / "b.npz").replace(tmp_path / "a.npz")
    with pytest.raises(DataError, match="variances"):
        read_predictions(tmp_path / "a.json", TRUTH, SKELETON)


def test_a_missing_box_is_around_the_keypoints_that_were_found():
    row = {"image_id": 1, "score": 0.5, "keypoints": [10, 20, 0.5, 30, 60, 0.9, 0, 0, 0]}
    nowhere = {**row, "keypoints": [10, 20, 0, 30, 60, 0, 5, 5, 0]}
    assert people_of_rows([row, nowhere], 3).boxes.tolist() == [[10, 20, 30, 60], [5, 5, 30, 60]]
