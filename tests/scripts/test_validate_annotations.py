"""scripts/validate_annotations.py: exit status, files, and one line for what can't work."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scripts.validate_annotations import main
from tests.datasets.conftest import coco_content, write_images


@pytest.fixture
def files(tmp_path):
    """A folder of four images, good.json, and bad.json with an error and something to repair."""
    content = coco_content()
    write_images(tmp_path / "infos", content)
    (tmp_path / "good.json").write_text(json.dumps(content))
    content["annotations"][0]["bbox"][2] = -1
    content["annotations"][3]["num_keypoints"] = 9
    (tmp_path / "bad.json").write_text(json.dumps(content))
    return tmp_path


def flags(files, name="good.json", **changes):
    values = {"img_dir": files / "infos", "ann_file": files / name, "output_dir": files / "report", **changes}
    return [
        word
        for key, value in values.items()
        for word in ((f"--{key}", str(value)) if value is not True else (f"--{key}",))
    ]


def test_without_errors_the_status_is_0(files, capsys):
    assert main(flags(files)) == 0
    printed = capsys.readouterr().out
    assert "good.json: 4 images, 8 people, 4 with keypoints" in printed
    assert "0 errors" in printed
    assert sorted(path.name for path in (files / "report").iterdir()) == ["findings.json", "images", "index.html"]


def test_with_errors_the_status_is_1(files, capsys):
    assert main(flags(files, "bad.json", num_samples=0)) == 1
    assert "bbox-malformed" in capsys.readouterr().out
    assert sorted(path.name for path in (files / "report").iterdir()) == ["findings.json", "index.html"]


def test_fix_writes_a_copy(files, capsys):
    before = (files / "bad.json").read_bytes()
    assert main(flags(files, "bad.json", fix=True)) == 1
    fixed = json.loads((files / "report" / "bad_fixed.json").read_text())
    assert fixed["annotations"][3]["num_keypoints"] == 0
    assert (files / "bad.json").read_bytes() == before
    assert "Repaired: 1 num-keypoints" in capsys.readouterr().out


def test_fix_without_anything_to_repair(files, capsys):
    assert main(flags(files, fix=True)) == 0
    assert not (files / "report" / "good_fixed.json").exists()
    assert "no copy was written" in capsys.readouterr().out


def test_an_earlier_report_stays(files):
    for _ in range(2):
        main(flags(files))
    assert (files / "report-2" / "index.html").is_file()


def test_annotations_that_are_no_json_are_an_error(files):
    (files / "good.json").write_text("{")
    assert main(flags(files)) == 1


def test_results_of_a_model(files, capsys):
    row = {"image_id": 10, "category_id": 1, "score": 0.9, "bbox": [0, 40, 10, 20], "keypoints": [5, 45, 1] * 3}
    (files / "results.json").write_text(json.dumps([row]))
    assert main(flags(files, results=files / "results.json")) == 0
    assert "person-missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ann_file": "nowhere.json"}, "nowhere.json: no such file. Check --ann_file."),
        ({"img_dir": "nowhere"}, "nowhere: no such folder. Check --img_dir."),
        ({"num_samples": -1}, "--num_samples must be 0 or more, but got -1"),
        ({"workers": 0}, "--workers must be 1 or more, but got 0"),
        ({"other_img_dir": "x"}, "--other_img_dir needs --other_ann_file"),
        ({"results": "nowhere.json"}, "nowhere.json: no such file. Check --results."),
    ],
)
def test_what_can_not_work_is_one_line_and_status_2(files, capsys, changes, message):
    assert main(flags(files, **changes)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_results_without_boxes_are_refused(files, capsys):
    row = {"image_id": 10, "category_id": 1, "score": 0.9, "keypoints": [5, 45, 1] * 3}
    (files / "results.json").write_text(json.dumps([row]))
    assert main(flags(files, results=files / "results.json")) == 2
    assert "no 'bbox'" in capsys.readouterr().err


def test_nan_can_not_be_written(files, capsys):
    content = json.loads((files / "bad.json").read_text())
    content["annotations"][1]["keypoints"][0] = np.nan
    (files / "bad.json").write_text(json.dumps(content))
    assert main(flags(files, "bad.json", fix=True)) == 2
    assert "NaN or infinity" in capsys.readouterr().err


def test_unknown_flags_end_with_status_2(files):
    with pytest.raises(SystemExit) as stop:
        main([*flags(files), "--fixx"])
    assert stop.value.code == 2
