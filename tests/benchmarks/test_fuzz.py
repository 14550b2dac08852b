"""The fuzz command: its inputs are the same each time, what it reads is judged, and what fails is kept."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.common import launch
from benchmarks.fuzzing import reader
from benchmarks.fuzzing.kinds import KINDS, mutation_of
from benchmarks.fuzzing.reader import (
    HANG,
    MEMORY,
    OK,
    REFUSED,
    TRACEBACK,
    Kind,
    prepare,
    read_apart,
    read_good,
    read_input,
    write_input,
)
from sia.errors import DataError


def made(kind: Kind, folder: Path) -> Path:
    prepare(kind, folder / "good")
    read_good(kind, folder / "good", folder / "input")
    return folder / "good"


@pytest.mark.parametrize("name", ["results", "arrays"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    seeds, target = made(KINDS[name], tmp_path), tmp_path / "input"
    outcomes = [read_input(KINDS[name], write_input(mutation_of, n, "0", seeds, target)) for n in range(24)]
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
    kind = Kind(note, careless)
    seeds, found = made(kind, tmp_path), []
    for number in range(300):
        path = write_input(mutation_of, number, "0", seeds, tmp_path / "input")
        again = write_input(mutation_of, number, "0", seeds, tmp_path / "again")
        assert path.read_bytes() == again.read_bytes()
        outcome = read_input(kind, path)
        found += [outcome.message] if outcome.verdict == TRACEBACK else []
    assert any(message.startswith("KeyError at test_fuzz.py:") for message in found)
    assert any(message.startswith("TypeError at test_fuzz.py:") for message in found)
    path.write_text('{"a": {"b": null}}')
    assert read_input(kind, path).message.startswith("a message of several lines")


def spin(path: Path) -> None:
    while True:
        pass


def swell(path: Path) -> None:
    held = mmap.mmap(-1, 600_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # new pages, not what is free in the heap
    for place in range(0, len(held), 4096):
        held[place] = 1
    time.sleep(20)


def own_bytes() -> int:
    """Of this process without the files mapped into it: what a copy of it starts with."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("read", "limit", "patience", "verdict", "message"),
    [
        (spin, 0.5, 1000, HANG, "took longer than 0.5 s"),
        (lambda path: time.sleep(60), 0.5, 2, HANG, "took longer than 0.5 s"),
        (swell, 30, 1000, MEMORY, "took "),
        (die, 30, 1000, TRACEBACK, "the process died: SIGKILL"),
        (careless, 30, 1000, OK, ""),
    ],
)
def test_a_reader_in_trouble_is_ended(tmp_path, monkeypatch, read, limit, patience, verdict, message) -> None:
    monkeypatch.setattr(reader, "PATIENCE", patience)
    monkeypatch.setattr(reader, "MOST_BYTES", own_bytes() + 300_000_000)
    outcome = read_apart(Kind(note, read), note(tmp_path)[0], limit)
    assert outcome.verdict == verdict and outcome.message.startswith(message)


def test_the_command_counts_and_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    verdicts = [OK, REFUSED, REFUSED, HANG]
    monkeypatch.setattr(fuzz, "prepare", lambda *_: None)

    def results(tasks, workers):
        for task, verdict in zip(tasks, verdicts, strict=True):
            yield task, reader.Outcome(verdict, "why", 1.0)

    monkeypatch.setattr(fuzz, "results", results)
    flags = ["--kinds", "configs", "--inputs", "4", "--output", str(tmp_path)]
    assert launch("", fuzz.add_flags, fuzz.run, flags) == 1
    assert "| configs | 1 | 2 | 0 | 1 | 0 | 4 |" in capsys.readouterr().out
    verdicts[-1] = OK
    assert launch("", fuzz.add_flags, fuzz.run, flags) == 0


def test_what_fails_is_kept_and_made_again(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(KINDS, "configs", Kind(note, careless))
    prepare(KINDS["configs"], tmp_path / "good" / "configs")
    fuzz.warm.clear()
    tasks = [fuzz.Task("configs", number, 0, tmp_path, 30.0) for number in range(40)]
    task = next(task for task in tasks if fuzz.work(task)[1].verdict == TRACEBACK)
    fuzz.warm.clear()
    kept = tmp_path / "failures" / f"configs-{task.number}" / "a.json"
    assert f"--only configs:{task.number}" in (tmp_path / "failures.txt").read_text()
    assert kept.read_bytes() == fuzz.make_input(task, tmp_path / "again").read_bytes()


def test_as_many_inputs_as_asked_for_of_every_kind() -> None:
    tasks = fuzz.tasks_of(KINDS, argparse.Namespace(inputs=10_000, seed=0, output=Path(), limit=30.0))
    counts = Counter(task.kind for task in tasks)
    assert list(counts) == list(fuzz.NAMES)
    assert len(tasks) == 10_000 and min(counts.values()) > 300
