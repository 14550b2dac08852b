"""scripts/import_labels.py: one file written, never one overwritten, one line for what can't work."""

from __future__ import annotations

import json

import pytest

from datasets.coco.coco_file import read_coco_file
from scripts.import_labels import main
from tests.datasets.converters.test_cvat import SHAPES, one
from tests.datasets.converters.test_labelme import labelme, shape


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.xml").write_text(one(f'<skeleton label="person">{SHAPES}</skeleton>'))
    (tmp_path / "json").mkdir()
    shapes = [shape("tip", [[5, 6]]), shape("pencil", [[1, 2], [31, 42]], "rectangle")]
    (tmp_path / "json" / "a.json").write_text(json.dumps(labelme(shapes)))
    (tmp_path / "pencil.json").write_text(json.dumps({"name": "pencil", "keypoints": ["tip", "end"]}))
    return tmp_path


def test_cvat(files, capsys):
    assert main(["--format", "cvat", "--input", str(files / "a.xml"), "--output", str(files / "out.json")]) == 0
    assert len(read_coco_file(files / "out.json").boxes) == 1
    printed = capsys.readouterr().out
    assert "1 images, 1 people, 1 with keypoints" in printed
    assert "boxes made from the joints" in printed


def test_labelme_with_a_category(files):
    flags = ["--input", str(files / "json"), "--category", str(files / "pencil.json")]
    assert main(["--format", "labelme", *flags, "--output", str(files / "out.json")]) == 0
    assert read_coco_file(files / "out.json").skeleton.names == ("tip", "end")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "cvat", "--input", "nowhere.xml"], "nowhere.xml: no such file. Check --input."),
        (["--format", "yolo", "--input", "data.yaml"], "--format yolo needs --img_dir"),
        (["--format", "cvat", "--input", "a.xml", "--img_dir", "x"], "--img_dir is not for --format cvat"),
        (["--format", "labelme", "--input", "x", "--label_dir", "x"], "--label_dir is for --format yolo only"),
        (["--format", "labelme", "--input", ".", "--category", "no.json"], "no such file. Check --category."),
    ],
)
def test_what_can_not_work_is_one_line_and_status_1(files, capsys, flags, message):
    assert main([*flags, "--output", str(files / "out.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not (files / "out.json").exists()


def test_nothing_is_overwritten(files, capsys):
    (files / "out.json").write_text("mine")
    assert main(["--format", "cvat", "--input", str(files / "a.xml"), "--output", str(files / "out.json")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (files / "out.json").read_text() == "mine"


def test_the_folder_must_exist(files, capsys):
    assert main(["--format", "cvat", "--input", str(files / "a.xml"), "--output", str(files / "no" / "out.json")]) == 1
    assert "there is no folder" in capsys.readouterr().err
