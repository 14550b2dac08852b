"""--save through the real commands: every format of images and videos, standard output, and ids of a data set."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from datasets.converters import import_cvat, import_labelme, import_yolo
from sia.cli import main
from sia.formats.door import FORMATS
from sia.skeletons.skeleton import COCO_PERSON
from tests.inference_helpers import quarters, save_video, save_weights

ALL = ",".join(FORMATS)
STEMS = {
    ".json", "-annotations.json", ".jsonl", ".csv", ".parquet", "-openpose", "-yolo", "-cvat.xml", "-cvat.labels.json",
    "-labelstudio.json", "-labelstudio.xml", "-labelme", ".slp",
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_weights(tmp_path_factory.mktemp("weights") / "best.pt"))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(quarters(40, 60)).save(tmp_path / "in" / f"{name}.png")


def predict(weights: str, source: str, *flags: str) -> int:
    return main(["predict", source, "--weight_path", weights, "--device", "cpu", "--conf_thresh", "0", *flags])


def test_every_format_of_images(weights: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("sleap_io")
    assert predict(weights, "in", "--save", ALL, "--output_dir", "out") == 0
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"a.png", "b.png", "run.json", *(f"results{stem}" for stem in STEMS)}
    rows = json.loads(Path("out/results.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2}
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [row["keypoints"] for line in lines for row in line["people"]] == [row["keypoints"] for row in rows]
    assert [line["file_name"] for line in lines] == ["a.png", "b.png"]
    for table in (pandas.read_csv("out/results.csv"), pandas.read_parquet("out/results.parquet")):
        assert table.nose_x.tolist() == pytest.approx([row["keypoints"][0] for row in rows], abs=0.01)
        assert table.image_id.tolist() == [row["image_id"] for row in rows]
    content = json.loads(Path("out/results-annotations.json").read_text())
    labels = content["annotations"]
    assert labels
    for other in (
        import_cvat(Path("out/results-cvat.xml")),
        import_yolo(Path("out/results-yolo/data.yaml"), Path("in"), Path("out/results-yolo/labels")),
        import_labelme(Path("out/results-labelme"), Path("in")),
    ):
        people = other.content()["annotations"]
        assert [row["num_keypoints"] for row in people] == [row["num_keypoints"] for row in labels]
        for ours, theirs in zip(labels, people, strict=True):
            assert theirs["keypoints"] == pytest.approx(ours["keypoints"], abs=0.01)


def test_formats_of_a_video(weights: str, tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    save_video(tmp_path / "walk.mp4", frames=3)
    assert predict(weights, "walk.mp4", "--save", ALL, "--track", "--output_dir", "out") == 0
    assert {path.name for path in Path("out").iterdir()} == {"walk.mp4", "run.json", *(f"walk{s}" for s in STEMS)}
    lines = [json.loads(line) for line in Path("out/walk.jsonl").read_text().splitlines()]
    people = sum(len(line["people"]) for line in lines)
    labels = sleap.load_slp("out/walk.slp", open_videos=False)
    assert sum(len(frame) for frame in labels.labeled_frames) == people > 0
    assert [frame.frame_idx for frame in labels.labeled_frames] == [0, 1, 2]
    assert labels.videos[0].filename == "walk.mp4"
    assert {path.name for path in Path("out/walk-openpose").iterdir()} == {
        f"walk_00000{n}_keypoints.json" for n in range(3)
    }


@pytest.mark.parametrize("source", ["in/a.png", "walk.mp4"])
def test_standard_output_has_the_lines_alone(
    weights: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if source.endswith("mp4"):
        save_video(tmp_path / "walk.mp4", frames=3)
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, write_through=True))
    assert predict(weights, source, "--save", "jsonl:-,csv:people.csv", "--output_dir", "out") == 0
    lines = [json.loads(line) for line in taken.getvalue().decode().splitlines()]
    assert len(lines) == (3 if source.endswith("mp4") else 1)
    assert lines[0]["about"]["skeleton"]["names"] == list(COCO_PERSON.names)
    assert len(Path("people.csv").read_text().splitlines()) == 1 + sum(len(line["people"]) for line in lines)
    assert "Written:" in capsys.readouterr().err
    assert not Path("out/results.json").exists()


def test_ids_of_a_data_set_in_every_format_that_has_ids(weights: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from scripts import evaluate

    ids = {"a.png": 1007, "b.png": 1003}
    images = [{"id": number, "file_name": name, "width": 60, "height": 40} for name, number in ids.items()]
    person = {
        "id": 1, "image_id": 1003, "category_id": 9, "iscrowd": 0, "bbox": [5, 5, 30, 30], "area": 477,
        "keypoints": [20, 20, 2] * 17, "num_keypoints": 17,
    }  # fmt: skip
    category = {**COCO_PERSON.to_category(9)}
    Path("val.json").write_text(json.dumps({"images": images, "annotations": [person], "categories": [category]}))
    flags = ("--save", "coco,coco-annotations,jsonl,csv,parquet,labelstudio", "--ann_file", "val.json")
    assert predict(weights, "in", *flags, "--output_dir", "out") == 0
    wanted = set(ids.values())
    rows = json.loads(Path("out/results.json").read_text())
    assert {row["image_id"] for row in rows} == wanted
    assert {row["category_id"] for row in rows} == {9}
    content = json.loads(Path("out/results-annotations.json").read_text())
    assert {image["file_name"]: image["id"] for image in content["images"]} == ids
    assert {row["category_id"] for row in content["annotations"]} == {9}
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert {line["file_name"]: line["image_id"] for line in lines} == ids
    assert set(pandas.read_csv("out/results.csv").image_id) == set(pandas.read_parquet("out/results.parquet").image_id)
    assert set(pandas.read_csv("out/results.csv").image_id) == wanted
    assert {t["data"]["image_id"] for t in json.loads(Path("out/results-labelstudio.json").read_text())} == wanted
    assert evaluate.main(["--results", "out/results.json", "--ann_file", "val.json", "--output_dir", "scores"]) == 0


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("cocoo", "The format cocoo is unknown. Did you mean coco"),
        ("slp:-", "only jsonl and csv go to standard output"),
        ("csv:in/a.png", "in/a.png exists already"),
        ("csv:none/a.csv", "there is no folder none. Make it first."),
    ],
)
def test_what_can_not_be_saved(weights: str, save: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(weights, "in/a.png", "--save", save) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_line_a_person(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(weights, "in/a.png", "--kpt_thresh", "0") == 0
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if "keypoints visible" in line]
    assert line.startswith("  17/17 keypoints visible, person 1, ")
    assert " of the image, confidence 0." in line
