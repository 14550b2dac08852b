"""What is compared: methods with settings, files at their own size, and why one failed."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import latency
from benchmarks.common import ROOT, table, take_turns
from benchmarks.comparison import methods
from benchmarks.comparison.methods import Method, parse_method
from benchmarks.comparison.run import check_settings
from benchmarks.comparison.sia_pose import write_one
from sia.errors import ConfigError

SIA = Method("sia_pose_simple", "sia_pose_simple")


def test_a_method_has_settings_and_a_folder() -> None:
    method = parse_method("yolo11n:nbs=16,batch=8")
    assert (method.model, method.options) == ("yolo11n", ("nbs=16", "batch=8"))
    assert method.folder == "yolo11n_nbs_16_batch_8"


@pytest.mark.parametrize("text", ["yolo12n", "yolo11n:nbs", ""])
def test_a_wrong_method_is_named(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_method(text)


def test_the_log_says_why_a_method_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "HERE", tmp_path)
    (tmp_path / "worker.py").write_text("raise SystemExit('no such weights')")
    with pytest.raises(ConfigError, match="no such weights"):
        SIA.run("train", {}, tmp_path / "log.txt")


def test_the_worker_imports_nothing_that_its_environment_lacks() -> None:
    """Ultralytics' environment has the packages of requirements.txt, and not those of the product."""
    packages = re.findall(r"^[\w-]+", methods.REQUIREMENTS.read_text(), re.MULTILINE)
    packages += ["numpy", "setuptools", "typing_extensions"]  # which PyTorch and Ultralytics need themselves
    code = (
        "import importlib.metadata as m, sys; import benchmarks.comparison.worker; of = m.packages_distributions(); "
        "print(*{name for top in {key.partition('.')[0] for key in sys.modules} for name in of.get(top, [])})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "msgspec" in loaded and set(loaded.split()) - {"sia-pose"} <= set(packages)


def test_an_exported_file_is_timed_at_its_own_side_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(method, verb, flags, log, threads) -> None:
        turn = {"milliseconds": 4.0, "megabytes": 300.0}
        flags["output"].write_text(json.dumps(turn))

    monkeypatch.setattr(Method, "run", run)
    for name in ("best.pt", "model.onnx", "model.xml"):
        (tmp_path / name).touch()
    texts = ("sia_pose_simple={}/best.pt", "sia_pose_simple@256={}/model.onnx", "sia_pose_simple@192={}/model.xml")
    methods = [latency.parse_timed(text.format(tmp_path)) for text in texts]
    args = argparse.Namespace(methods=methods, images=1, threads=1, rounds=1)
    rows = [row for side in (192, 256) for row in latency.measure(side, args, tmp_path)]
    assert [row[2] for row in rows] == ["best.pt", "model.xml", "best.pt", "model.onnx"]
    assert rows[1] == ["192", "sia_pose_simple", "model.xml", "4.0", "1.00", "300"]


@pytest.mark.parametrize("text", ["sia_pose_simple", "sia_pose_simple=nowhere.pt"])
def test_a_file_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must exist"):
        latency.parse_timed(text)


def test_the_image_that_is_evaluated_has_labelled_people(tmp_path: Path) -> None:
    rows = [{"image_id": i, "num_keypoints": count} for i, count in ((1, 0), (2, 5), (2, 0), (3, 4))]
    content = {"images": [{"id": i} for i in (1, 2, 3)], "annotations": rows, "categories": []}
    (tmp_path / "train.json").write_text(json.dumps(content))
    one = json.loads(write_one(tmp_path, tmp_path).read_text())
    assert [image["id"] for image in one["images"]] == [2] and len(one["annotations"]) == 2


def test_jobs_take_turns_after_a_warm_up() -> None:
    order = iter(range(100))
    assert take_turns({"a": lambda: next(order), "b": lambda: next(order)}, 2, 1) == {"a": [2, 4], "b": [3, 5]}


def test_numbers_stand_right() -> None:
    assert table(["name", "ms"], [["a", "1.0 (2x)"]]).splitlines()[1] == "| - | --: |"


def test_a_folder_is_of_one_comparison(tmp_path: Path) -> None:
    args = argparse.Namespace(output=tmp_path, data=None, images=100, minutes=3.0, side=96)
    check_settings(args)
    check_settings(args)
    args.minutes = 4.0
    with pytest.raises(ConfigError, match=r"is of .*'minutes': 3\.0.* Name another --output"):
        check_settings(args)
