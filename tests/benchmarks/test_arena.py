"""The arena's bookkeeping, with contestants that are small shell commands."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from benchmarks.peers import arena
from benchmarks.peers.contestants import Entry, checked, model_of, parse_entry
from benchmarks.peers.keypoint_rcnn import rate_factor
from benchmarks.peers.runner import Clock, Job
from sia.errors import ConfigError


def job(minutes: float) -> Job:
    return Job("m", Path("data"), 192, minutes, minutes / 10, 0, Path("out"), None, {})


def test_a_contestant_has_settings_and_a_folder() -> None:
    entry = parse_entry("yolo11n:nbs=16,batch=8")
    assert (entry.model, entry.options) == ("yolo11n", ("nbs=16", "batch=8"))
    assert entry.folder == "yolo11n_nbs_16_batch_8"


@pytest.mark.parametrize("text", ["yolo12n", "yolo11n:nbs", ""])
def test_a_wrong_contestant_is_named(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_entry(text)


def test_the_log_says_why_a_contestant_failed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such weights"):
        checked(["sh", "-c", "echo no such weights; exit 3"], tmp_path / "log.txt", {})


def test_a_finished_training_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "run", lambda *_: pytest.fail("it ran again"))
    task = arena.Task(Entry("yolo11n", "yolo11n"), 0, tmp_path, None)
    task.curve.touch()
    assert arena.try_task(task, argparse.Namespace(), tmp_path, arena.Slots(1))


def test_a_second_arena_starts_from_the_first(tmp_path: Path) -> None:
    entry = Entry("yolo11n", "yolo11n")
    with pytest.raises(ConfigError, match="did not finish"):
        arena.start_weights(tmp_path, entry, 0)
    folder = tmp_path / "yolo11n-seed0"
    folder.mkdir()
    rows = [{"file": name, "seconds": 1.0, "images": 1} for name in ("001.pt", "002.pt")]
    (folder / "record.json").write_text(json.dumps({"checkpoints": rows}))
    assert arena.start_weights(tmp_path, entry, 0) == Path("002.pt")
    other = Entry("yolo11n:batch=8", "yolo11n", ("batch=8",))
    assert arena.start_weights(tmp_path, other, 0) == Path("002.pt")
    shutil.copytree(folder, tmp_path / "yolo11n_batch_16-seed0")
    assert arena.start_weights(tmp_path, entry, 0) == Path("002.pt")
    with pytest.raises(ConfigError, match="finished there 2 times with other settings"):
        arena.start_weights(tmp_path, other, 0)


def test_the_contestant_of_a_folder() -> None:
    assert model_of("sia_pose_simple_BS_8-seed0") == "sia_pose_simple"
    assert model_of("sia_pose-seed0") == "sia_pose"
    assert model_of("data") == ""


def test_checkpoints_are_due_at_fixed_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("benchmarks.peers.runner.time.monotonic", lambda: now[0])
    clock, due = Clock(job(1.0)), []
    while not clock.over:
        due += [round(clock.seconds)] if clock.due() else []
        now[0] += 1.0
    assert due == [6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert clock.share == 1.0


def test_keypoint_rcnn_warms_up_and_falls_twice() -> None:
    assert rate_factor(0.0) == pytest.approx(1e-3)
    assert [rate_factor(share) for share in (0.1, 0.8, 0.95)] == pytest.approx([1.0, 0.1, 0.01])
