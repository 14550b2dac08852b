"""scripts/evaluate.py: files it writes, the same with several processes, and one line for everything that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from scripts.evaluate import main
from sia.io.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from sia.registry import ModelConfig, create_model
from sia.skeletons.skeleton import Skeleton
from tests.conftest import ROOT
from tests.processes import finish, start

SKELETON = Skeleton(("a", "b", "c"), ((0, 1),), (), (0.3, 0.4, 0.5), category="triangle")


def annotation(image_id):
    box = [5.0, 5.0, 50.0, 40.0]
    keypoints = [10.0, 10.0, 2, 40.0, 12.0, 1, 30.0, 30.0, 2]
    common = {"image_id": image_id, "category_id": 1, "iscrowd": 0, "num_keypoints": 3}
    return {**common, "id": image_id, "bbox": box, "area": 2000.0, "keypoints": keypoints}


def result(image_id):
    entry = annotation(image_id)
    return {key: entry[key] for key in ("image_id", "category_id", "bbox", "keypoints")} | {"score": 0.5}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with five images, val.json, results.json (of three images, all right) and weights.pt."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for i in range(1, 6):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    images = [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in range(1, 6)]
    category = {"id": 1, "name": "triangle", "keypoints": list(SKELETON.names), "sigmas": list(SKELETON.sigmas)}
    people = [annotation(i) for i in range(1, 5)]
    (folder / "val.json").write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    (folder / "results.json").write_text(json.dumps([result(i) for i in (1, 2, 3)]))
    torch.manual_seed(0)
    mean_pose = ((-0.3, -0.3), (0.2, -0.3), (0.1, 0.2))
    config = ModelConfig("sia_pose_simple", "test", 3, (64, 96), mean_pose, SKELETON.sigmas)
    payload = {
        "model_config": config.to_dict(),
        "skeleton": SKELETON.to_dict(),
        "weights": create_model(config).state_dict(),
    }
    save_checkpoint(folder / "weights.pt", {"format": FORMAT, **payload, "metrics": {}})
    return folder


def flags(files, output, **changes):
    values = {
        "weight_path": files / "weights.pt",
        "coco_root": files,
        "ann_file": files / "val.json",
        "output_dir": output,
        "batch_size": 2,
        "workers": 0,
        "device": "cpu",
        **changes,
    }
    texts = [text for name, value in values.items() if value is not None for text in (f"--{name}", str(value))]
    return [text for text in texts if text != "True"]


def results_flags(files, output, **changes):
    values = {"results": files / "results.json", "ann_file": files / "val.json", "output_dir": output, **changes}
    return [text for name, value in values.items() for text in (f"--{name}", str(value))]


def test_results_file(files, tmp_path, capsys):
    assert main(results_flags(files, tmp_path / "out")) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["images"], metrics["people"], metrics["found"]) == (5, 4, 3)
    assert metrics["AR"] == 0.75
    table = (tmp_path / "out" / "keypoints.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in table[1:]] == [["a", "4", "3"], ["b", "4", "3"], ["c", "4", "3"]]
    printed = capsys.readouterr().out
    assert "AR    75.0" in printed and str(tmp_path / "out" / "metrics.json") in printed


def test_weights_write_results_that_score_the_same(files, tmp_path, capsys):
    assert main(flags(files, tmp_path / "a")) == 0
    printed = capsys.readouterr().out
    assert "sia_pose_simple test" in printed and "5 images, 4 labelled people" in printed
    results = tmp_path / "a" / "results.json"
    assert main(results_flags(files, tmp_path / "b", results=results)) == 0
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert first["AR"] > 0
    own = {"weights", "results", "annotations", "image_size", "roi_size", "roi_score_thresh", "tta", "precision"}
    same = first.keys() & second.keys() - own
    assert {"AP", "errors", "curves", "keypoints"} <= same
    assert first["speed"]["milliseconds"] > 0 and " on cpu" in first["speed"]["model"] and "ms an image" in printed
    assert (tmp_path / "a" / "report.html").is_file()
    assert {key: first[key] for key in same} == {key: second[key] for key in same}
    assert first["image_size"] == [64, 96] and first["tta"] is False
    assert first["precision"] == "float32"


def test_nothing_is_overwritten_and_size_can_change(files, tmp_path):
    for _ in range(2):
        assert main(flags(files, tmp_path / "out", imgsz="96x64", roi_size="48x32", roi_score_thresh=0.3)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-2"]
    metrics = json.loads((tmp_path / "out-2" / "metrics.json").read_text())
    assert (metrics["image_size"], metrics["roi_size"], metrics["roi_score_thresh"]) == ([96, 64], [48, 32], 0.3)


def test_a_flip_test_is_noted_or_refused_where_nobody_knows_left_from_right(files, tmp_path, capsys):
    assert main(flags(files, tmp_path / "out", tta=True)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Leave --tta out." in error and "no name says left or right" in error
    payload, declared = load_checkpoint(files / "weights.pt"), tmp_path / "declared.pt"
    save_checkpoint(declared, {**payload, "skeleton": {**payload["skeleton"], "flips": "declared"}})
    assert main(flags(files, tmp_path / "out", tta=True, weight_path=declared)) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["tta"] is True and "flip test" in metrics["speed"]["model"]


def as_rank(rank, arguments):
    return main(arguments)


def in_processes(world_size, arguments):
    return finish(start(world_size, as_rank, arguments))


def test_two_processes_give_the_same(files, tmp_path, capfd):
    assert main(flags(files, tmp_path / "one")) == 0
    capfd.readouterr()
    assert in_processes(2, flags(files, tmp_path / "two")) == [0, 0]
    printed = capfd.readouterr().out
    assert printed.count("labelled people") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    for name in ("metrics.json", "results.json"):
        one, two = (json.loads((tmp_path / ranks / name).read_text()) for ranks in ("one", "two"))
        if isinstance(one, dict):
            assert one.pop("speed")["model"] == two.pop("speed")["model"]
        assert one == two


def test_two_processes_say_an_error_once(files, tmp_path, capfd):
    broken = write(tmp_path, "broken.json", "{")
    assert in_processes(2, flags(files, tmp_path / "out", ann_file=broken)) == [1, 1]
    assert capfd.readouterr().err.count("error: ") == 1
    assert not (tmp_path / "out").exists()


def test_help_as_a_script():
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert "--weight_path" in done.stdout and "(default: 16)" in done.stdout


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


BAD_RESULTS = [
    ("{'a'", "not valid JSON"),
    ({"annotations": []}, "not a list of COCO keypoint results"),
    ([result(1), 3], "not a list of COCO keypoint results"),
    ([{**result(1), "image_id": 77}], "image 77, which the annotations don't have"),
    ([{**result(1), "image_id": "1"}], "needs a whole number as 'image_id', but got '1'"),
    ([{**result(1), "keypoints": [1.0] * 51}], "9 finite numbers (3 keypoints), but got 51 values"),
    ([{**result(1), "category_id": 9}], "category 9"),
    ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], "'keypoints' of 9"),
]


@pytest.mark.parametrize(("content", "message"), BAD_RESULTS)
def test_bad_results(files, tmp_path, capsys, content, message):
    bad = write(tmp_path, "bad.json", content)
    assert main(results_flags(files, tmp_path / "out", results=bad)) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "out").exists()


def assert_one_line(capsys, message):
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coco_root": None}, "--weight_path needs --coco_root"),
        ({"coco_root": "/none"}, "/none"),
        ({"weight_path": "/none.pt"}, "/none.pt: no such file"),
        ({"ann_file": "/none.json"}, "/none.json"),
        ({"batch_size": 0}, "--batch_size must be at least 1"),
        ({"workers": -1}, "--workers must be at least 0"),
        ({"samples": -1}, "--samples must be at least 0"),
        ({"crowdpose": True}, "--crowdpose is for CrowdPose's 14 keypoints"),
        ({"device": "gpu"}, "--device gpu is unknown"),
    ],
)
def test_bad_flags(files, tmp_path, capsys, changes, message):
    assert main(flags(files, tmp_path / "out", **changes)) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "out").exists()


def test_other_bad_input(files, tmp_path, capsys):
    assert main(results_flags(files, tmp_path / "out", results=tmp_path / "none.json")) == 1
    assert_one_line(capsys, "none.json: no such file")
    content = json.loads((files / "val.json").read_text())
    empty = write(tmp_path, "empty.json", {**content, "annotations": []})
    assert main(results_flags(files, tmp_path / "out", ann_file=empty)) == 1
    assert_one_line(capsys, "nothing to evaluate")
    none = write(tmp_path, "none.json", {**content, "categories": [{"id": 1, "name": "triangle"}]})
    assert main(results_flags(files, tmp_path / "out", ann_file=none)) == 1
    assert_one_line(capsys, "no category declares keypoints")
    content["categories"][0]["keypoints"] = ["x", "y", "z"]
    other = write(tmp_path, "other.json", content)
    assert main(flags(files, tmp_path / "out", ann_file=other)) == 1
    assert_one_line(capsys, "['x', 'y', 'z']")


def test_a_folder_that_can_not_be_made(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(results_flags(files, tmp_path / "file")) == 1
    assert_one_line(capsys, "is a file")
    assert (tmp_path / "file").read_text() == ""


def test_no_abbreviations_and_one_of_two(files, tmp_path):
    for arguments in (["--weight", "w.pt", "--ann_file", "a"], ["--ann_file", "a"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def test_two_results_are_compared(files, tmp_path, capsys):
    (tmp_path / "more.json").write_text(json.dumps([result(i) for i in (1, 2, 3, 4)]))
    assert main(results_flags(files, tmp_path / "out", compare=tmp_path / "more.json")) == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    printed = capsys.readouterr().out
    assert found["after"]["value"] > 1 - 1e-9 and found["images"] == 5
    assert found["difference"]["value"] == found["after"]["value"] - found["before"]["value"]
    assert found["difference"]["low"] == 0.0  # some resamples lack the one image that differs
    assert "change of AP" in printed and "no clear difference" in printed


def test_weights_are_compared_with_weights_and_with_their_own_results(files, tmp_path, capsys):
    assert main(flags(files, tmp_path / "a", compare=files / "weights.pt")) == 0
    assert "compared with sia_pose_simple test" in capsys.readouterr().out
    assert main(flags(files, tmp_path / "b", compare=tmp_path / "a" / "results.json")) == 0
    for name in "ab":
        found = json.loads((tmp_path / name / "comparison.json").read_text())
        assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0} and not found["changed"]
    capsys.readouterr()
    assert main(results_flags(files, tmp_path / "c", compare=files / "weights.pt")) == 1
    assert "name the results with --compare" in capsys.readouterr().err
    assert main(results_flags(files, tmp_path / "d", compare=tmp_path / "none.json")) == 1
    assert "none.json" in capsys.readouterr().err and not (tmp_path / "d").exists()
