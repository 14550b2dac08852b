"""Poses of either format are read, and what is no file of poses is refused with one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON
from stages.prior.poses import read_poses, training_poses
from tests.stages.pose_helpers import people, write_annotations


def archive(path: Path, **changes: object) -> Path:
    labels = people(6)
    sizes = labels.boxes[:, 2:] - labels.boxes[:, :2]
    content = {
        "image_id": labels.image_ids.astype(np.int32),
        "bbox": np.concatenate([labels.boxes[:, :2], sizes], axis=1).astype(np.float32),
        "keypoints": np.concatenate([labels.keypoints, 2 * labels.labelled[..., None]], axis=-1).astype(np.int16),
        "keypoint_names": np.array(COCO_PERSON.names),
    }
    kept = {key: value for key, value in {**content, **changes}.items() if value is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    from_json = read_poses(write_annotations(tmp_path / "a.json", people(6)), COCO_PERSON)
    from_npz = read_poses(archive(tmp_path / "a.npz"), COCO_PERSON)
    np.testing.assert_allclose(from_npz.keypoints[from_npz.labelled], from_json.keypoints[from_json.labelled], atol=1)
    np.testing.assert_array_equal(from_npz.labelled, from_json.labelled)
    np.testing.assert_allclose(from_npz.boxes, from_json.boxes, atol=1e-2)


def test_fit_and_file_are_joined_without_the_poor(tmp_path: Path) -> None:
    fit = write_annotations(tmp_path / "a.json", people(7, unlabelled=0))
    assert len(training_poses(fit, None, COCO_PERSON)) == 7
    assert len(training_poses(fit, archive(tmp_path / "b.npz"), COCO_PERSON)) == 13
    poor = write_annotations(tmp_path / "c.json", people(200, unlabelled=0.7))
    kept = training_poses(poor, None, COCO_PERSON).labelled.sum(1)
    assert 20 < len(kept) < 180
    assert kept.min() == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": None}, "bbox"),
        ({"keypoints": np.zeros((6, 3, 3))}, "shape"),
        ({"keypoint_names": np.array(["a"] * 17)}, "keypoints"),
        ({"image_id": np.array([object()])}, "can't be used"),
    ],
)
def test_other_archives(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_poses(archive(tmp_path / "a.npz", **changes), COCO_PERSON)


@pytest.mark.parametrize("name", ["missing.npz", "missing.json", "broken.npz"])
def test_no_files_of_poses(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=name):
        read_poses(tmp_path / name, COCO_PERSON)


def test_the_published_file(photographs: Path) -> None:
    poses = read_poses(photographs / "pose_prior" / "train2017_keypoints.npz", COCO_PERSON)
    assert len(poses) == 149_813
    assert np.isfinite(poses.rivals).any()
