"""People and dogs in one file, each with keypoints of their own, through the public commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sia
import train_pose
from sia.cli import main
from sia.coco.coco_files import load_skeleton
from sia.io.checkpoint import load_checkpoint
from sia.registry import read_description
from tests.two_categories import DOG, write_people_and_dogs

STILL = "-FLIP 0.5 -MOSAIC 0 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_people_and_dogs(folder, 4, 2, 64)
    return folder


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the images that it is evaluated on."""
    output = tmp_path_factory.mktemp("runs")
    flags = f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -BS 4 -EPOCH 8 -EVAL_EVERY 8 -WORKERS 0 -DEVICE cpu {STILL}"
    files = f"-COCO_ROOT {data}/images/train -TRAIN_ANN {data}/train.json -VAL_ANN {data}/train.json"
    assert train_pose.main(f"{flags} {files} -OUTPUT {output} -EXP run".split()) == 0
    return output / "run" / "weights" / "best.pt"


def predict(weights: Path, data: Path, out: Path, formats: str) -> int:
    flags = f"--weight_path {weights} --device cpu --conf_thresh 0 --kpt_thresh 0 --save {formats} --output_dir {out}"
    return main(["predict", f"{data}/images/train", *flags.split()])


def check_rows(rows: list[dict[str, Any]]) -> None:
    assert rows
    assert all(len(row["keypoints"]) == 3 * {1: 17, DOG["id"]: 4}[row["category_id"]] for row in rows)


def test_weights_know_their_categories(weights: Path, data: Path) -> None:
    config, skeleton = read_description(load_checkpoint(weights), weights)
    assert config.num_keypoints == 21
    assert skeleton == load_skeleton(data / "train.json")
    metrics = load_checkpoint(weights)["metrics"]
    assert metrics["AP"] == pytest.approx(np.mean([part["AP"] for part in metrics["categories"].values()]))


def test_each_category_is_evaluated(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = f"--ann_file {data}/train.json"
    flags = f"--weight_path {weights} --coco_root {data}/images/train --device cpu --output_dir {tmp_path}/out"
    assert main(f"evaluate {ann} {flags} --samples 2".split()) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["categories"]) == ["person", "dog"]
    assert metrics["categories"]["dog"]["people"] == 4
    for name in ("person", "dog", "mean"):
        assert f"\n{name:<20}" in printed
    for folder, name in (("1-person", "left_eye"), ("2-dog", "tail")):
        assert name in (tmp_path / "out" / folder / "keypoints.csv").read_text()
        assert (tmp_path / "out" / folder / "report.html").is_file()
    results = tmp_path / "out" / "results.json"
    check_rows(json.loads(results.read_text()))
    assert main(f"evaluate {ann} --results {results} --compare {results} --output_dir {tmp_path}/again".split()) == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["categories"] == metrics["categories"]
    assert (tmp_path / "again" / "2-dog" / "comparison.json").is_file()


def test_results_have_the_category_and_its_keypoints(weights: Path, data: Path, tmp_path: Path) -> None:
    assert predict(weights, data, tmp_path / "out", "coco,coco-annotations,jsonl,csv") == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    check_rows(rows)
    labels = json.loads((tmp_path / "out" / "results-annotations.json").read_text())
    assert [(row["id"], len(row["keypoints"])) for row in labels["categories"]] == [(1, 17), (DOG["id"], 4)]
    check_rows(labels["annotations"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    people = [person for line in lines for person in line["people"]]
    assert [person["category"] for person in people] == ["person" if r["category_id"] == 1 else "dog" for r in rows]
    assert [person["keypoints"] for person in people] == [row["keypoints"] for row in rows]
    with (tmp_path / "out" / "results.csv").open() as stream:
        for row in csv.DictReader(stream):
            assert (row["dog.tail_x"] == "") == (row["category"] == "person") != (row["person.nose_x"] == "")
    assert (tmp_path / "out" / "000000.jpg").is_file()


def test_formats_of_one_skeleton_refuse(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cvat", "openpose", "yolo", "labelstudio", "labelme"):
        assert predict(weights, data, tmp_path / name, name) == 1
        assert f"{name} can't hold several categories (person, dog). Save coco" in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    assert main(["predict", f"{data}/images/train", "--weight_path", str(weights), "--describe"]) == 1
    assert "--describe takes the keypoints of one category" in capsys.readouterr().err


def test_python_tells_the_classes(weights: Path, data: Path) -> None:
    people = sia.load(weights, device="cpu")(data / "images" / "train" / "000000.jpg", conf=0)
    assert len(people)
    assert people.class_names == [people.skeleton.class_names[number] for number in people.class_ids]
    own = people.skeleton.own(people.confidences)
    assert (people.confidences[~own] == 0).all()
    centres = (people.boxes[:, None, :2] + people.boxes[:, None, 2:]) / 2
    assert people.keypoints.shape == (len(people), 21, 2) == (*own.shape, centres.shape[-1])
    content = json.loads(people.to_json())["people"]
    assert [row["category"] for row in content] == people.class_names
    assert [row["category_id"] for row in people.to_coco()] == [{"person": 1}.get(c, 18) for c in people.class_names]
    assert people.plot().shape == people.image.shape


@pytest.mark.parametrize("left_out", ["keypoints", "category"])
def test_validation_needs_the_same_categories(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: str
) -> None:
    content = json.loads((data / "val.json").read_text())
    content["categories"][1].pop("keypoints")
    if left_out == "category":
        del content["categories"][1]
        content["annotations"] = [row for row in content["annotations"] if row["category_id"] == 1]
    (tmp_path / "val.json").write_text(json.dumps(content))
    files = f"-COCO_ROOT {data}/images -TRAIN_ANN {data}/train.json -VAL_ANN {tmp_path}/val.json -OUTPUT {tmp_path}"
    assert train_pose.main(f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -DEVICE cpu {files}".split()) == 1
    assert "'dog.back_paw'] are needed here" in capsys.readouterr().err
