from __future__ import annotations

import json
from pathlib import Path

import pytest

from sia.errors import OutputError
from utils.run_folder import RunFolder, create_run_folder, run_folder_of, write_description


def test_never_an_earlier_run(tmp_path: Path) -> None:
    names = [create_run_folder(tmp_path / "runs", "a").path.name for _ in range(3)]
    assert names == ["a", "a-2", "a-3"]
    assert (tmp_path / "runs" / "a-3" / "weights").is_dir()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(OutputError, match=r"(?i)choose another output folder"):
        create_run_folder(tmp_path / "runs", "a")


def test_the_run_of_a_checkpoint(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, "a")
    assert run_folder_of(folder.last) is None  # no config.json: some other folder
    write_description(folder, {"bs": 1}, ["train_pose.py", "-BS", "1"], {"processes": 2})
    found = run_folder_of(folder.last)
    assert found is not None
    assert found.path == folder.path
    assert run_folder_of(tmp_path / "last.pt") is None


def test_each_start_is_recorded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for _ in range(2):
        write_description(folder, {"bs": 1}, ["train_pose.py"], {"processes": 1})
    starts = json.loads((tmp_path / "environment.json").read_text())
    assert len(starts) == 2
    assert {"started", "command", "python", "system", "packages", "commit", "processes"} <= set(starts[0])
    assert "torch" in starts[0]["packages"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"bs": 1}
