"""Cross-validation: groups stay together, every image is evaluated once, stops are gone on from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import pytest

import train_pose
from datasets.synthetic import write_dataset
from scripts import cross_validate
from stages.pipeline import splits


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 8, 1, 64, 0, 0)
    return folder


def ids_of(path: Path) -> list[int]:
    content = json.loads(path.read_text())
    ids = [image["id"] for image in content["images"]]
    assert {row["image_id"] for row in content["annotations"]} <= set(ids)
    return ids


def test_folds_are_disjoint_whole_and_of_groups(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three images are of one video."""
    monkeypatch.setattr(
        splits, "video_names", lambda files: ["video" if int(Path(f).stem) < 3 else None for f in files]
    )
    splits.make_folds(tmp_path, people / "images", people / "train.json", 3, 0)
    every = sorted(ids_of(people / "train.json"))
    folds = [ids_of(tmp_path / f"val-{number}.json") for number in (1, 2, 3)]
    assert sorted(image for fold in folds for image in fold) == every
    assert sorted(map(len, folds)) == [2, 3, 3]
    for number, fold in enumerate(folds, 1):
        assert sorted(ids_of(tmp_path / f"train-{number}.json") + fold) == every
    first = {image["id"] for image in json.loads((people / "train.json").read_text())["images"]
             if int(Path(image["file_name"]).stem) < 3}  # fmt: skip
    assert sum(bool(first & set(fold)) for fold in folds) == 1


def command(people: Path, output: Path, *more: str) -> list[str]:
    flags = (
        f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -BS 2 -WORKERS 0 -DEVICE cpu -EPOCH 1 -COCO_ROOT {people}/images"
    )
    return ["--folds", "2", "--output", str(output), "--", *flags.split(), "-TRAIN_ANN", f"{people}/train.json", *more]


class InThisProcess:
    """What `Popen` would do with scripts/launch.py and train_pose.py."""

    def __init__(self, words: list[str]) -> None:
        assert words[:3] == [sys.executable, str(cross_validate.LAUNCH), train_pose.__file__]
        self.flags = words[3:]

    def wait(self) -> int:
        return train_pose.main(self.flags)


def test_two_folds_are_trained_and_told(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """For real, the first in a process of its own; then again, where nothing is left to do."""
    start = SimpleNamespace(Popen=lambda words: (subprocess.Popen if "fold-1" in words else InThisProcess)(words))
    monkeypatch.setattr(cross_validate, "subprocess", start)
    assert cross_validate.main(command(people, tmp_path / "cv")) == 0
    shown = capfd.readouterr().out
    state = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    values = [fold["AP"] for fold in state["folds"]]
    assert len(values) == 2 and state["mean"]["AP"] == mean(values) and state["sd"]["AP"] == stdev(values)
    assert f"mean    {100 * mean(values):>8.2f}" in shown and "Fold 2 of 2" in shown
    assert (tmp_path / "cv" / "fold-2" / "weights" / "best.pt").is_file()
    assert cross_validate.main(command(people, tmp_path / "cv")) == 0
    assert "Fold 1 of 2" not in capfd.readouterr().out


def test_a_stopped_fold_is_gone_on_with(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    class Training:
        def __init__(self, words: list[str]) -> None:
            commands.append(words)

        def wait(self) -> int:
            (tmp_path / "cv" / "fold-1").mkdir(exist_ok=True)  # of one that was killed before it saved anything
            weights = tmp_path / "cv" / ("fold-1-2" if len(commands) < 3 else "fold-2") / "weights"
            weights.mkdir(parents=True, exist_ok=True)
            (weights / "last.pt").touch()
            (weights.parent / "results.csv").write_text(f"epoch,AP\n1,0.5\n2,\n3,{0.1 * len(commands)}\n")
            return 143 if len(commands) == 1 else 0

    monkeypatch.setattr(cross_validate.subprocess, "Popen", Training)
    handler: Any = signal.getsignal(signal.SIGINT)
    assert cross_validate.main(command(people, tmp_path / "cv")) == 143
    assert signal.getsignal(signal.SIGINT) is handler
    assert cross_validate.main(command(people, tmp_path / "cv")) == 0
    assert [words[3:5] for words in commands] == [
        ["-MODEL", "sia_pose_simple"], ["--RESUME", f"{tmp_path}/cv/fold-1-2/weights/last.pt"],
        ["-MODEL", "sia_pose_simple"],
    ]  # fmt: skip
    assert commands[1][-2:] == ["-DEVICE", "cpu"]
    state = json.loads((tmp_path / "cv" / "cross_validation.json").read_text())
    assert state["folds"] == [{"AP": 0.2, "best AP": 0.5}, {"AP": pytest.approx(0.3), "best AP": 0.5}]


def test_what_does_not_go_together(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "cross_validation.json").write_text('{"count": 3, "flags": ["-A"], "folds": []}')
    (tmp_path / "all.yaml").write_text("STAGE: all\n")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "train-1.json").write_text("mine")
    for words, message in (
        (command(people, tmp_path / "cv"), "was begun with other flags: -A"),
        (command(people, tmp_path / "new", "-VAL_ANN", "x.json"), "-VAL_ANN can't be given here"),
        (command(people, tmp_path / "new", "-CONFIG", f"{tmp_path}/all.yaml"), "-STAGE can't be given here"),
        (command(people, tmp_path / "others"), "others has files of something else"),
        (["--folds", "1", *command(people, tmp_path / "new")[2:]], "--folds 1 must be at least 2"),
    ):
        assert cross_validate.main(words) == 1
        assert message in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["train-1.json"]


@pytest.mark.parametrize("content", ["[]", '{"folds": [], "count": 2}', "{"])
def test_a_broken_record_is_one_line(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "cross_validation.json").write_text(content)
    assert cross_validate.main(command(people, tmp_path)) == 1
    said = capsys.readouterr().err
    assert "The record of a cross-validation" in said and "Name another --output." in said and said.count("\n") == 1
