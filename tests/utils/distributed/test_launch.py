"""What a launch of torchrun finds again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from utils.distributed.launch import Launch
from utils.run_folder import create_run_folder

COMMAND = ("train_pose.py", "-EPOCH", "3")


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Launch:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    present = Launch.present(COMMAND)
    assert present is not None
    return present


def test_no_launch_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert Launch.present(COMMAND) is None


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"restarted": True}, True),
        ({"agent": "another", "restarted": True}, True),  # the first process has moved to another machine
        ({"agent": "another"}, False),  # the same name, given again by the user
        ({"run_id": "none", "agent": "another", "restarted": True}, False),
        ({"run_id": "b", "restarted": True}, False),
        ({"command": "another", "restarted": True}, False),
    ],
)
def test_what_is_found_again(launch: Launch, tmp_path: Path, changes: dict[str, object], found: bool) -> None:
    create_run_folder(tmp_path, "stranger")
    folder = create_run_folder(tmp_path, "run", launch).path
    assert replace(launch, **changes).find(tmp_path.glob("*")) == (folder if found else None)  # type: ignore[arg-type]


def test_a_broken_note_is_nobodys(launch: Launch, tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, "run", launch).path
    for content in (b"", b"[1]", b"\xff"):
        (folder / ".launch.json").write_bytes(content)
        assert launch.find(tmp_path.glob("*")) is None


def test_the_folder_of_a_launch_has_its_name_when_it_is_signed(launch: Launch, tmp_path: Path) -> None:
    """And the note tells nothing of the command."""
    folders = [create_run_folder(tmp_path, "run", launch).path for _ in range(2)]
    assert [path.name for path in folders] == ["run", "run-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]
    assert all((path / "weights").is_dir() for path in folders)
    assert "EPOCH" not in (folders[0] / ".launch.json").read_text()
