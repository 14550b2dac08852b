"""Joining annotation files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datasets.coco.coco_pose import CocoPose
from scripts.merge_annotations import main
from sia.skeletons.skeleton import COCO_PERSON


def write(folder: Path, image_id: int, names: tuple[str, ...] = COCO_PERSON.names, **image: Any) -> None:
    (folder / "images").mkdir(parents=True)
    person = {"id": 7, "image_id": image_id, "category_id": 3, "bbox": [1, 1, 9, 9], "area": 40.0, "iscrowd": 0}
    keypoints: dict[str, Any] = {"keypoints": [2, 2, 2] * len(names), "num_keypoints": len(names)}
    content = {
        "images": [{"id": image_id, "file_name": "a.jpg", "width": 20, "height": 10, **image}],
        "annotations": [{**person, **keypoints}],
        "categories": [{"id": 3, "name": "person", "keypoints": list(names), "skeleton": []}],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    (folder / "images" / "a.jpg").touch()


def merge(root: Path, *names: str, more: tuple[str, ...] = ()) -> int:
    files = [str(root / name / "labels.json") for name in names]
    folders = [str(root / name / "images") for name in names]
    output = str(root / "all.json")
    return main(["--img_root", str(root), "--output", output, "--ann_file", *files, "--img_dir", *folders, *more])


def test_ids_are_new_and_paths_start_at_the_root(tmp_path: Path) -> None:
    for name in ("one", "two"):  # the same ids in both
        write(tmp_path / name, image_id=5)
    assert merge(tmp_path, "one", "two") == 0
    content = json.loads((tmp_path / "all.json").read_text())
    assert [row["id"] for row in content["images"]] == [1, 2]
    assert [row["file_name"] for row in content["images"]] == ["one/images/a.jpg", "two/images/a.jpg"]
    assert [(row["id"], row["image_id"], row["category_id"]) for row in content["annotations"]] == [
        (1, 1, 1),
        (2, 2, 1),
    ]
    assert len(CocoPose(tmp_path, tmp_path / "all.json")) == 2


def test_images_are_found_where_a_training_finds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "one", image_id=5)
    write(tmp_path / "two", image_id=5, file_name="C:\\photos\\a.jpg")
    (tmp_path / "two" / "images" / "train2017").mkdir()
    (tmp_path / "two" / "images" / "a.jpg").rename(tmp_path / "two" / "images" / "train2017" / "a.jpg")
    assert merge(tmp_path, "one", "two") == 0
    names = [row["file_name"] for row in json.loads((tmp_path / "all.json").read_text())["images"]]
    assert names == ["one/images/a.jpg", "two/images/train2017/a.jpg"]
    (tmp_path / "all.json").unlink()
    (tmp_path / "one" / "images" / "a.jpg").unlink()
    capsys.readouterr()
    assert merge(tmp_path, "one", "two") == 1
    assert "1 of 1 images of labels.json are missing" in capsys.readouterr().err


def test_incomplete_images_are_left_out_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "one", image_id=1, complete=False)
    write(tmp_path / "two", image_id=2, complete=True)
    assert merge(tmp_path, "one", "two", more=("--complete_only",)) == 0
    assert "1 images (1 left out as incomplete), 1 annotations" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["names", "root", "exists", "count", "junk", "missing", "twice", "stranger", "nan"])
def test_faults_are_one_line(tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "one", image_id=1)
    write(tmp_path / "two", image_id=2, names=("a", "b") if fault == "names" else COCO_PERSON.names)
    more: tuple[str, ...] = ()
    if fault == "root":
        more = ("--img_root", str(tmp_path / "one"))
    if fault == "exists":
        (tmp_path / "all.json").write_text("mine")
    if fault == "count":
        more = ("--img_dir", str(tmp_path / "one"))
    if fault == "junk":
        (tmp_path / "two" / "labels.json").write_text('{"images": [3], "annotations": [], "categories": []}')
    labels = tmp_path / "two" / "labels.json"
    if fault == "twice":
        more = ("--img_dir", str(tmp_path / "one" / "images"), str(tmp_path / "one" / "images"))
    if fault == "stranger":
        labels.write_text(labels.read_text().replace('"image_id": 2', '"image_id": 3'))
    if fault == "nan":
        labels.write_text(labels.read_text().replace('"area": 40.0', '"area": NaN'))
    if fault == "missing":
        (tmp_path / "two" / "labels.json").unlink()
    assert merge(tmp_path, "one", "two", more=more) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert not (tmp_path / "all.json").exists() or (tmp_path / "all.json").read_text() == "mine"
