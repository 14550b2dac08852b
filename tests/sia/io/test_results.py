from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sia.errors import OutputError
from sia.io.output_file import complete_file, named_folder, numbered_folder, write_json
from sia.io.results import JsonLines, StandardOutput, coco_rows, describe_rows, person_rows
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON
from tests.inference_helpers import files_up_to

TWO = People(
    np.array([[10, 20, 50, 100], [0, 0, 5, 5]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.arange(2 * 17 * 2, dtype=np.float32).reshape(2, 17, 2),
    np.full((2, 17), 0.5, np.float32),
)

as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")


def test_rows_are_xywh_with_confidence_third() -> None:
    first, second = coco_rows(TWO, COCO_PERSON, image_id=42)
    assert first["image_id"] == 42
    assert first["category_id"] == 1
    assert first["bbox"] == [10, 20, 40, 80]
    assert first["score"] == pytest.approx(0.9, abs=1e-6)
    assert first["keypoints"][:6] == [0, 1, 0.5, 2, 3, 0.5]
    assert len(second["keypoints"]) == 51


def test_coco_tools_load_the_file(tmp_path: Path) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    write_json(tmp_path / "results.json", coco_rows(TWO, COCO_PERSON, 7))
    truth = {"images": [{"id": 7}], "categories": [{"id": 1, "name": "person"}], "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    loaded = coco_module.COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "results.json"))
    assert len(loaded.anns) == 2


def test_nobody_is_an_empty_list() -> None:
    assert coco_rows(TWO.above(2), COCO_PERSON, 7) == []


def test_description_is_json_and_says_the_frame() -> None:
    text = json.dumps(describe_rows(COCO_PERSON))
    assert "pixel i covers [i, i + 1)" in text
    assert "sia_pose_results/1" in text


def test_lines_are_there_at_the_end_and_also_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(RuntimeError), JsonLines(path) as lines:
        lines.write({"frame": 0, "people": person_rows(TWO, COCO_PERSON)})
        assert not path.exists()
        raise RuntimeError
    assert json.loads(path.read_text())["people"][0]["bbox"] == [10, 20, 40, 80]
    assert list(tmp_path.iterdir()) == [path]


def test_no_lines_leave_no_file(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "rows.jsonl"):
        pass
    assert not list(tmp_path.iterdir())


def test_lines_on_a_full_disk_keep_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with files_up_to(1000), pytest.raises(OutputError, match=r"rows\.jsonl"), JsonLines(path) as lines:
        for number in range(200):
            lines.write({"frame": number})
    rows = path.read_text().splitlines()
    assert [json.loads(row)["frame"] for row in rows] == list(range(len(rows)))
    assert len(rows) > 10


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), complete_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_folders_never_meet(tmp_path: Path) -> None:
    assert numbered_folder(tmp_path / "runs", "x").name == "x-1"
    assert numbered_folder(tmp_path / "runs", "x").name == "x-2"
    wanted = tmp_path / "mine"
    assert named_folder(wanted) == wanted
    assert named_folder(wanted) == wanted  # still empty
    (wanted / "file").touch()
    assert named_folder(wanted) == tmp_path / "mine-2"
    (tmp_path / "mine-2" / "file").touch()
    assert named_folder(wanted) == tmp_path / "mine-3"


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        named_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="file"):
        named_folder(tmp_path / "file" / "below")


@as_root
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="denied"):
        named_folder(tmp_path)
    with pytest.raises(OutputError, match="denied"):
        numbered_folder(tmp_path, "x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, where nobody may make a folder")
def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(OutputError, match="Can't write /proc"):
        named_folder(Path("/proc/sia-pose"))


def test_lines_for_standard_output_are_handed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(raw)))  # type: ignore[type-var]
    lines = StandardOutput()
    lines.append([b"one", b"two"])
    assert raw.getvalue() == b"one\ntwo\n"


def test_a_folder_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    monkeypatch.chdir(tmp_path / "in")
    for wanted in (".", ".."):
        with pytest.raises(OutputError, match="has files in it already"):
            named_folder(Path(wanted))
