"""The fuzz command: its inputs are the same each time, what it reads is judged, and what fails is kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pytest

from benchmarks import fuzz
from benchmarks.fuzzing import inputs, worker
from benchmarks.fuzzing.inputs import OK, REFUSED, TRACEBACK, Kind, Outcome, prepare, read_good, read_input, write_input
from benchmarks.fuzzing.kinds import KINDS, mutation_of, shares
from benchmarks.fuzzing.worker import HANG, MEMORY, Result, Task
from sia.errors import DataError

QUICK = ("results", "arrays")


def made(kind: Kind, folder: Path) -> Path:
    prepare(kind, folder / "good")
    read_good(kind, folder / "good", folder / "input")
    return folder / "good"


@pytest.mark.parametrize("name", QUICK)
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    seeds = made(kind, tmp_path)
    outcomes = [read_input(kind, write_input(kind, number, 0, seeds, tmp_path / "input")) for number in range(24)]
    assert [outcome.message for outcome in outcomes if outcome.verdict not in (OK, REFUSED)] == []
    assert sum(outcome.verdict == REFUSED for outcome in outcomes) > 5


def note(folder: Path) -> list[Path]:
    (folder / "a.json").write_text(json.dumps({"a": {"b": [1, 2, 3]}}))
    return [folder / "a.json"]


def careless(path: Path) -> None:
    """A reader as it should not be."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON.") from error
    if content == {"a": {"b": None}}:
        raise DataError("two\nlines")
    sum(content["a"]["b"])


def test_a_careless_reader_is_found_out(tmp_path: Path) -> None:
    kind = Kind("note", note, mutation_of, careless)
    seeds = made(kind, tmp_path)
    outcomes = {}
    for number in range(300):
        path = write_input(kind, number, 0, seeds, tmp_path / "input")
        assert path.read_bytes() == write_input(kind, number, 0, seeds, tmp_path / "again").read_bytes()
        outcomes[number] = read_input(kind, path)
    found = [outcome.message for outcome in outcomes.values() if outcome.verdict == TRACEBACK]
    assert any(message.startswith("KeyError at test_fuzz.py:") for message in found)
    assert any(message.startswith("TypeError at test_fuzz.py:") for message in found)
    path.write_text('{"a": {"b": null}}')
    assert read_input(kind, path).message.startswith("a message of several lines")


class Pipe:
    """The parent's end, with nothing in it yet, or closed by the death of the other side."""

    def recv(self) -> None:
        raise EOFError


class Process:
    pid, exitcode = 0, -11

    def kill(self) -> None:
        pass

    def join(self) -> None:
        pass


@pytest.mark.parametrize(
    ("ready", "computed", "resident", "verdict", "message"),
    [
        (False, 31.0, 0, HANG, "took longer than 30 s"),
        (False, 1.0, 3 << 30, MEMORY, "took more than"),
        (True, 0.0, 0, TRACEBACK, "SIGSEGV"),
        (False, 1.0, 1 << 30, None, ""),
    ],
)
def test_workers_in_trouble(monkeypatch, ready: bool, computed: float, resident: int, verdict, message: str) -> None:
    monkeypatch.setattr(worker, "_computed", lambda pid: computed)
    monkeypatch.setattr(worker, "_resident", lambda pid: resident)
    one = worker.Worker(Process(), Pipe(), Path("x"), Task("weights", 3), time.monotonic())
    result = worker._listen(one, ready, 30)
    assert (result and result.outcome.verdict) == verdict
    assert verdict is None or message in result.outcome.message


def test_the_command_counts_keeps_and_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    made(next(kind for kind in KINDS if kind.name == "configs"), tmp_path)
    (tmp_path / "good").rename(tmp_path / "configs")
    (tmp_path / "good").mkdir()
    (tmp_path / "configs").rename(tmp_path / "good" / "configs")
    verdicts = [OK, REFUSED, REFUSED, HANG]

    def run(tasks, *_):
        for task, verdict in zip(tasks, verdicts, strict=True):
            yield Result(task, Outcome(verdict, "why", 1.0), tmp_path / "input")

    monkeypatch.setattr(fuzz, "run", run)
    assert fuzz.main(["--kinds", "configs", "--inputs", "4", "--output", str(tmp_path)]) == 1
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.split()[0] == "configs")
    assert row == ["configs", "4", "1", "2", "0", "1", "0", "4"]
    assert "--only configs:3" in (tmp_path / "failures.txt").read_text()
    assert (tmp_path / "failures" / "configs-3" / "run.yaml").is_file()
    verdicts[-1] = OK
    assert fuzz.main(["--kinds", "configs", "--inputs", "4", "--output", str(tmp_path)]) == 0


def test_as_many_inputs_as_asked_for() -> None:
    names = [kind.name for kind in KINDS]
    assert sum(shares(names, 10_000).values()) == 10_000
    assert min(shares(names, 10_000).values()) > 300
    assert inputs.FAILURES == (TRACEBACK, HANG, MEMORY)
    assert mutation_of(".jpg")(b"abc", Random(0)) == mutation_of(".jpg")(b"abc", Random(0))
