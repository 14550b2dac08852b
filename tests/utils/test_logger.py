from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from sia.errors import OutputError
from utils import logger
from utils.logger import Dashboards, Progress, ResultsFile, clock


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_and_new_columns(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv")
    results.add({"epoch": 1, "step": 3, "loss": 1.23456789})
    results.add({"epoch": 2, "step": 6, "loss": 0.5, "AP": 0.25, "APM": None})
    rows = rows_of(tmp_path / "results.csv")
    assert rows[0] == {"epoch": "1", "step": "3", "loss": "1.23457", "AP": "", "APM": ""}
    assert rows[1]["AP"] == "0.25"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_a_resumed_run_cuts_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.csv")
    for epoch in (1, 2, 3):
        results.add({"epoch": epoch, "step": 3 * epoch, "loss": 1.0})
    ResultsFile(tmp_path / "results.csv", 2).add({"epoch": 3, "step": 9, "loss": 2.0})
    assert [(row["epoch"], row["loss"]) for row in rows_of(tmp_path / "results.csv")] == [
        ("1", "1"), ("2", "1"), ("3", "2"),
    ]  # fmt: skip


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Can't write .*results.csv"):
        ResultsFile(tmp_path / "no" / "results.csv").add({"epoch": 1})


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(100, 20, stream=stream)
    for _ in range(40):
        now[0] += 1.0
        progress.update("1/5", 2.0, 16)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4  # one in ten seconds
    assert lines[-1] == "epoch 1/5  step 60/100  loss 2.000  16.0 img/s  remaining 0:00:40"


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(3, 0, stream=stream)
    for _ in range(3):
        progress.update("1/1", 2.5, 8)
        time.sleep(0.12)
    progress.say("a line")
    progress.close()
    assert "epoch 1/1" in stream.getvalue()
    assert "loss 2.500" in stream.getvalue()
    assert "img/s" in stream.getvalue()
    assert "a line" in capsys.readouterr().out


def test_silent_on_other_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    progress = Progress(1, 0, enabled=False, stream=stream)
    progress.update("1/1", 1.0, 1)
    progress.say("x")
    progress.close()
    assert stream.getvalue() == capsys.readouterr().out == ""


def test_clock() -> None:
    assert clock(3725.4) == "1:02:05"


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    dashboards = Dashboards(tmp_path, ["tensorboard"], name="x", config={})
    dashboards.log({"loss": 1.0, "AP": None}, 1)
    dashboards.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert not dashboards.warnings


@pytest.mark.parametrize("fails", ["log", "close"])
def test_a_dashboard_that_fails_later_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    calls: list[str] = []

    def call(name: str) -> None:
        calls.append(name)
        if name == fails:
            raise RuntimeError("server away")

    log = lambda *_: call("log"), lambda: call("close")
    monkeypatch.setattr(logger, "_mlflow", lambda *_: (log, "MLflow"))
    dashboards = Dashboards(tmp_path, ["mlflow"], name="x", config={})
    dashboards.log({"loss": 1.0}, 1)
    dashboards.log({"loss": 1.0}, 2)
    dashboards.close()
    assert calls == (["log"] if fails == "log" else ["log", "log", "close"])
    assert capsys.readouterr().err.count("mlflow failed (server away)") == 1


@pytest.mark.parametrize("package", ["wandb", "torch.utils.tensorboard", "trackio", "mlflow"])
def test_missing_packages_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    dashboards = Dashboards(tmp_path, [package.rpartition(".")[2]], name="x", config={})
    dashboards.log({"loss": 1.0}, 1)
    dashboards.close()
    assert "pip install" in dashboards.warnings[0]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two starts of one run are one curve."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))
    trackio = pytest.importorskip("trackio")
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "kept")
    for step in (1, 2):
        dashboards = Dashboards(tmp_path, ["trackio"], name="run", config={"bs": 4})
        dashboards.log({"loss": 1.0 / step, "AP": None}, step)
        dashboards.close()
        assert not dashboards.warnings
    (run,) = trackio.Api().runs("sia_pose")
    assert run.name.startswith("run-") and run.config["bs"] == 4


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow = pytest.importorskip("mlflow")
    for step in (1, 2):
        dashboards = Dashboards(tmp_path, ["mlflow"], name="run", config={"bs": 4})
        dashboards.log({"loss": 1.0 / step, "AP": None}, step)
        dashboards.close()
        assert not dashboards.warnings
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("sia_pose").experiment_id])
    assert (run.info.run_name, run.data.params, run.info.status) == ("run", {"bs": "4"}, "FINISHED")
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")] == [
        (1, 1.0), (2, 0.5),
    ]  # fmt: skip


def fake_wandb(calls: list[object]) -> ModuleType:
    module = ModuleType("wandb")

    class Run:
        def log(self, values: object, step: int) -> None:
            calls.append((values, step))

        def finish(self) -> None:
            calls.append("finished")

    def init(**options: object) -> Run:
        calls.append(options)
        return Run()

    module.init, module.Settings = init, dict  # type: ignore[attr-defined]
    return module


def test_wandb_is_offline_without_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(calls))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    dashboards = Dashboards(tmp_path, ["wandb"], name="run", config={"a": 1})
    dashboards.log({"loss": 1.0, "AP": None}, 7)
    dashboards.close()
    options, logged, finished = calls
    assert isinstance(options, dict)
    assert options["mode"] == "offline"
    assert options["resume"] == "allow"
    assert logged == ({"loss": 1.0}, 7)
    assert finished == "finished"


def test_a_run_keeps_its_wandb_id_and_shares_it_with_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(calls))
    for folder in ("a/base", "a/base", "b/base"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Dashboards(tmp_path / folder, ["wandb"], name="base", config={})
    first, again, other = (options["id"] for options in calls if isinstance(options, dict))
    assert first == again != other
