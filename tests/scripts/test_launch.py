"""How a training is started, and how its end is reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from scripts import launch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What torchrun is asked for, instead of starting it."""
    arguments: list[str] = []
    monkeypatch.setattr("torch.distributed.run.main", arguments.extend)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch.logging, "disable", lambda level: None)
    return arguments


def end_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def torchrun(arguments: Sequence[str]) -> None:
        raise error

    monkeypatch.setattr("torch.distributed.run.main", torchrun)
    monkeypatch.setattr(launch.logging, "disable", lambda level: None)


def failure(exit_code: int) -> ChildFailedError:
    return ChildFailedError("train_pose.py", {1: ProcessFailure(1, 4242, exit_code, "none")})


def test_one_process_for_each_gpu_and_the_cores_shared(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("scripts.launch.usable_cores", lambda: 10)
    assert launch.main(["train_pose.py", "-BS", "8"]) == 0
    assert started == ["--standalone", "--nproc-per-node", "4", "train_pose.py", "-BS", "8"]
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("flags", "processes"),
    [
        ("-DEVICE cpu", 1), ("-DEVICE=cuda:1", 1), ("-DEVICE cuda", 4), ("-DEVICE auto -BS 8", 4),
        ("-DEVICE cuda -DEVICE cpu", 1), ("-CONFIG {}/cpu.yaml", 1),
    ],
)  # fmt: skip
def test_a_device_may_ask_for_one_process(
    started: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, processes: int
) -> None:
    """Wherever it is said; the last of two counts."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    (tmp_path / "last.pt").write_bytes(b"")
    (tmp_path / "cpu.yaml").write_text("DEVICE: cpu\n")
    command = ["--RESUME", str(tmp_path / "last.pt"), *flags.format(tmp_path).split()]
    assert launch.run([str(ROOT / "train_pose.py"), *command]) == 0
    assert started[2] == str(processes)


@pytest.mark.parametrize(
    ("flags", "processes"),
    [
        ("--RESUME {}/run/weights/last.pt", 1), ("--RESUME {}/run/weights/last.pt -DEVICE cuda", 4),
        ("--RESUME {}/run/weights/best.pt", 4), ("-PIPELINE {}/pipeline", 1), ("-PIPELINE {}/pipeline -DEVICE auto", 4),
        ("-PIPELINE {}/broken", 4),
    ],
)  # fmt: skip
def test_what_goes_on_keeps_its_device(
    started: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, processes: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for folder in ("run/weights", "pipeline", "broken"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        (tmp_path / "run" / "weights" / name).touch()
    (tmp_path / "run" / "config.json").write_text('{"device": "cuda:1"}')
    (tmp_path / "pipeline" / "state.json").write_text('{"config": {"device": "cpu"}}')
    (tmp_path / "broken" / "state.json").write_text('{"config": 3')
    assert launch.run([str(ROOT / "train_pose.py"), *flags.format(tmp_path).split()]) == 0
    assert started[2] == str(processes)


def test_the_users_thread_count_stays(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    launch.main(["train_pose.py"])
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_exit_status_of_the_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    end_with(monkeypatch, failure(3))
    assert launch.main(["train_pose.py"]) == 3
    assert capsys.readouterr().err == ""  # the training has said what was wrong


def test_a_killed_training_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    end_with(monkeypatch, failure(-signal.SIGKILL))
    assert launch.main(["train_pose.py"]) == 137
    assert capsys.readouterr().err.startswith(
        "error: process 1 was killed by SIGKILL. The machine may be out of memory"
    )


def test_an_interrupted_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    end_with(monkeypatch, SignalException("got SIGINT", signal.SIGINT))
    assert launch.main(["train_pose.py"]) == 130
    assert capsys.readouterr().err == ""


def test_a_failure_ends_with_one_line(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys; print('error: wrong', file=sys.stderr); sys.exit(1)")
    command = [sys.executable, str(ROOT / "scripts" / "launch.py"), str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert (result.returncode, result.stderr) == (1, "error: wrong\n")
