from __future__ import annotations

import os
from pathlib import Path

import pytest

import scripts.launch_inference as launch


def test_takes_the_newest_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert launch.with_weights(["--image_path", "a.jpg"]) == ["--image_path", "a.jpg"]
    for age, name in enumerate(("new", "old")):
        folder = tmp_path / "runs" / name / "weights"
        folder.mkdir(parents=True)
        (folder / "best.pt").touch()
        os.utime(folder / "best.pt", (1000 - age, 1000 - age))
    assert launch.with_weights([])[-1] == str(tmp_path / "runs" / "new" / "weights" / "best.pt")


@pytest.mark.parametrize("flags", [["--weight_path", "a.pt"], ["--weight_path=a.pt"], ["--pipeline", "p"], ["--help"]])
def test_leaves_flags_alone_where_they_suffice(flags: list[str]) -> None:
    assert launch.with_weights(flags) == flags
