"""A teacher's keypoints: labels by people stay, the others count by their confidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import train_pose
from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import write_annotations
from sia.errors import ConfigError, DataError
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.expert import Poses
from stages.ensemble.teacher import teacher_labels

Rows = list[dict[str, Any]]


def annotations(people: Rows) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "a.png", "width": 90, "height": 80}]
    images += [{"id": 9, "file_name": "b.png", "width": 90, "height": 80}]
    return {"images": images, "annotations": people, "categories": [COCO_PERSON.to_category(1)]}


@pytest.fixture
def people(tmp_path: Path) -> Rows:
    """Two people in one image, who overlap, and one in the other; all keypoints visible."""
    rng, rows = np.random.default_rng(0), []
    for number, (image, x, y) in enumerate([(7, 5, 5), (7, 20, 10), (9, 30, 20)], 1):
        points = np.concatenate([rng.uniform(0, 30, (17, 2)) + np.array([x, y]), np.full((17, 1), 2)], 1).round(3)
        rows.append({
            "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [x, y, 30, 30], "area": 500.0,
            "keypoints": points.ravel().tolist(), "num_keypoints": 17,
        })  # fmt: skip
    for name in "ab":
        Image.new("RGB", (90, 80)).save(tmp_path / f"{name}.png")
    return rows


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def bare(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "keypoints": [0] * 51, "num_keypoints": 0}


def results(people: Rows, confidence: float = 1.0) -> Rows:
    def row(person: dict[str, Any]) -> dict[str, Any]:
        points = [confidence if i % 3 == 2 else value for i, value in enumerate(person["keypoints"])]
        return {**{key: person[key] for key in ("image_id", "category_id", "bbox")}, "keypoints": points, "score": 0.9}

    return [row(person) for person in reversed(people)]


def taught(tmp_path: Path, labels: Any, teacher: Any) -> CocoPose:
    ann, source = write(tmp_path / "ann.json", labels), write(tmp_path / "teacher.json", teacher)
    path = teacher_labels(ann, tmp_path, str(source), "cpu", tmp_path / "made")
    assert teacher_labels(ann, tmp_path, str(source), "cpu", tmp_path / "made") == path
    return CocoPose(tmp_path, path)


def same(one: CocoPose, other: CocoPose) -> None:
    for row in range(2):
        for a, b in zip(vars(one.annotation(row)).values(), vars(other.annotation(row)).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_true_labels_as_the_teachers_are_the_same_data(people: Rows, tmp_path: Path) -> None:
    truth = CocoPose(tmp_path, write(tmp_path / "true.json", annotations(people)))
    without = annotations([bare(row) for row in people])
    same(taught(tmp_path, without, results(people)), truth)
    same(taught(tmp_path, without, annotations(people)), truth)


def test_labels_by_people_stay_and_doubtful_keypoints_do_not(people: Rows, tmp_path: Path) -> None:
    moved = [{**row, "keypoints": [v + 1 if i % 3 < 2 else v for i, v in enumerate(row["keypoints"])]}
             for row in people]  # fmt: skip
    teacher = results(moved, 0.5)
    teacher[0]["keypoints"][2] = 0.1  # the nose of the last person
    found = taught(tmp_path, annotations([people[0], bare(people[1]), bare(people[2])]), teacher)
    first, last = found.annotation(0).keypoints, found.annotation(1).keypoints
    np.testing.assert_allclose(first[0].ravel(), people[0]["keypoints"], rtol=1e-6)
    np.testing.assert_allclose(first[1, :, :2].ravel(), np.array(moved[1]["keypoints"]).reshape(17, 3)[:, :2].ravel())
    assert (first[1, :, 2] == 0.5).all()
    assert (last[0, 0] == 0).all() and (last[0, 1:, 2] == 0.5).all()


def test_processes_of_one_machine_share_the_file(people: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a second machine, too, one process writes: it may have folders of its own."""
    files = write(tmp_path / "ann.json", annotations([bare(row) for row in people])), tmp_path
    source, own = str(write(tmp_path / "teacher.json", results(people))), tmp_path / "made"
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    written = teacher_labels(*files, source, "cpu", own)
    content = written.read_bytes()
    written.unlink()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("stages.ensemble.teacher.time.sleep", lambda seconds: written.write_bytes(content))
    assert teacher_labels(*files, source, "cpu", own) == written


def test_machines_that_share_the_folder_do_not_meet(
    people: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one machine writes, another does the whole job: both end, with the same file."""
    files = write(tmp_path / "ann.json", annotations([bare(row) for row in people])), tmp_path
    source, own = str(write(tmp_path / "teacher.json", results(people))), tmp_path / "made"
    drafts: list[Path] = []

    def write_slowly(path: Path, content: dict[str, Any]) -> None:
        drafts.append(path)
        if len(drafts) == 1:
            monkeypatch.setenv("GROUP_RANK", "1")
            teacher_labels(*files, source, "cpu", own)
        write_annotations(path, content)

    monkeypatch.setenv("GROUP_RANK", "0")
    monkeypatch.setattr("stages.ensemble.teacher.write_annotations", write_slowly)
    written = teacher_labels(*files, source, "cpu", own)
    assert len(set(drafts)) == 2 and [path.name for path in own.iterdir()] == [written.name]
    assert len(CocoPose(tmp_path, written)) == 2


def test_a_model_is_told_the_boxes(people: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Model:
        def predict(self, image: np.ndarray, boxes: np.ndarray) -> Poses:
            asked.append((image.shape, boxes.tolist()))
            return Poses(np.full((len(boxes), 17, 2), 40.0), np.full((len(boxes), 17), 0.75))

    monkeypatch.setattr("stages.ensemble.teacher.load_expert", lambda member, device: Model())
    (tmp_path / "model.pth").write_bytes(b"x")
    ann = write(tmp_path / "ann.json", annotations([people[0], bare(people[1]), people[2]]))
    path = teacher_labels(ann, tmp_path, f"vitpose:{tmp_path / 'model.pth'}", "cpu", tmp_path / "made")
    assert asked == [((80, 90, 3), [[20.0, 10.0, 50.0, 40.0]])]
    row = json.loads(path.read_text())["annotations"][1]
    assert row["keypoints"] == [40.0, 40.0, 2.0] * 17 and row["keypoint_confidences"] == [0.75] * 17


def test_bad_teachers(people: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = annotations([bare(row) for row in people])
    with pytest.raises(DataError, match="nothing to add"):
        taught(tmp_path, annotations(people), results(people))
    with pytest.raises(DataError, match="row 0 is no COCO result"):
        taught(tmp_path, without, [{"image_id": 7}])
    with pytest.raises(ConfigError, match="has 1 keypoints, the annotations have 17"):
        taught(tmp_path, without, [{"image_id": 7, "keypoints": [1, 2, 1]}])
    with pytest.raises(DataError, match="not finite"):
        taught(tmp_path, without, [{"image_id": 7, "keypoints": [float("nan"), 2, 1] * 17}])
    assert train_pose.main(["-STAGE", "all", "-TEACHER", "x.json", "-PIPELINE", str(tmp_path / "p")]) == 1
    assert "-TEACHER is for a plain training" in capsys.readouterr().err
