"""train_bundled_weights.sh with a Python that only notes what it is asked to do, and leaves an empty file for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import merge_annotations, pack_weights, train_roi_head
from tests.conftest import ROOT
from utils.config.builder import build_config
from utils.config.flags import parse_flags

PYTHON = """#!/bin/bash
case "$*" in
*"-m pip"* | *"import cv2"*) exit 0 ;;
*/scripts/*) exec REAL "$(dirname -- "$0")/note.py" "$@" ;;
esac
exec REAL "$@"
"""

NOTE = """
import json, os, pathlib, sys
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if "--output" in words:
    pathlib.Path(words[words.index("--output") + 1]).touch()
elif "-EXP" in words:
    folder = pathlib.Path("runs") / words[words.index("-EXP") + 1] / "weights"
    folder.mkdir(parents=True)
    for name in ("best.pt", "last.pt"):
        (folder / name).touch()
"""

CHECKED = {
    "merge_annotations.py": merge_annotations,
    "pack_weights.py": pack_weights,
    "train_roi_head.py": train_roi_head,
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """An environment with that Python, where there are data."""
    for name, text in (("python", PYTHON.replace("REAL", f"'{sys.executable}'")), ("uv", "#!/bin/bash\n")):
        path = tmp_path / "environment" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "environment/bin/note.py").write_text(NOTE)
    (tmp_path / "data").mkdir()
    return tmp_path


def run(machine: Path, *arguments: str, **variables: str) -> tuple[int, list[list[str]]]:
    """The exit status, and the script and flags of each command."""
    (machine / "log").unlink(missing_ok=True)
    environment = machine / "environment"
    values = {"PATH": f"{environment}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": str(environment), "HOME": str(machine)}
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "train_bundled_weights.sh"), *arguments],
        cwd=machine, env={**values, "LOG": str(machine / "log"), **variables}, capture_output=True, timeout=100,
    )  # fmt: skip
    log = machine / "log"
    return done.returncode, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_every_command_has_flags_that_there_are(machine: Path):
    status, commands = run(machine, "data", "output")
    assert status == 0
    trainings = []
    for script, *words in commands:
        name = Path(script).name
        if name == "launch.py":
            given = parse_flags(words[1:])
            trainings.append(build_config(given)[0])
        elif name in CHECKED:
            CHECKED[name].parse_args(words)
    assert [config.epoch for config in trainings] == [5, 14, 18, 18, 20, 18, 18, 8, 6, 6, 4, 4, 2, 1, 4, 2, 1, 3, 3, 3]
    assert [config.freeze_roi for config in trainings] == [False] * 14 + [True] * 3 + [False] * 3
    assert [config.certainty_only for config in trainings] == [False] * 17 + [True] * 3
    assert all(config.resume is not None for config in trainings[1:])
    made = {path.name for path in (machine / "output" / "pose_coco").iterdir()}
    assert made == {path.name for path in (ROOT / "weights" / "pose_coco").iterdir()}


def test_what_is_there_is_not_made_again(machine: Path):
    """Trainings are asked to go on, which a finished one answers at once; nothing else is run."""
    assert run(machine, "data", "output")[0] == 0
    status, commands = run(machine, "data", "output")
    assert status == 0 and len(commands) == 20
    assert all(words[-2] == "--RESUME" and words[-1].endswith("/last.pt") for words in commands)


def test_a_trial_is_short(machine: Path):
    status, commands = run(machine, "data", "output", EPOCHS="4")
    assert status == 0
    epochs = [int(words[words.index("-EPOCH") + 1]) for words in commands if "-EPOCH" in words]
    assert epochs == [4] * 12 + [2, 1, 4, 2, 1, 3, 3, 3]


def test_it_says_how_it_is_called(machine: Path):
    assert run(machine, "data") == (2, [])
