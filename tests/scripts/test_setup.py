"""train.sh and test.sh with a uv, a pip and a Python that only note what they are asked to do: no network, no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands for an environment's interpreter. Files beside it set its state: `old` is a Python that doesn't fit,
# `no_libgl` one whose OpenCV can't be imported, `headless` one with the headless build, `failing` names a step to fail.
PYTHON = """#!/bin/bash
here=$(dirname -- "${BASH_SOURCE[0]}")
case "$*" in
*version_info*) [[ -e $here/old ]] && exit 1 ;;
*"import cv2"*)
    [[ -e $here/no_libgl && ! -e $here/headless ]] || exit 0
    echo "ImportError: libGL.so.1: cannot open shared object file: No such file or directory" >&2
    exit 1 ;;
*"metadata as m"*) [[ -e $here/headless ]]; exit ;;
*"-m pip"* | *"-m ruff"* | *"-m mypy"* | *"-m pytest"* | *launch.py* | *make_synthetic.py* | *train_pose.py*)
    echo "python $*" >>"$LOG"
    [[ $* != *"$(cat "$here/failing" 2>/dev/null || echo nothing-fails)"* ]]
    exit ;;
esac
exec REAL "$@"
"""

LINT_IMPORTS = """#!/bin/bash
echo "lint-imports $*" >>"$LOG"
"""

UV = """#!/bin/bash
here=$(dirname -- "${BASH_SOURCE[0]}")
[[ $1 == --version ]] && exit 0
echo "uv $*" >>"$LOG"
if [[ $1 == venv ]]; then
    mkdir -p "${!#}" && cp -r "$here/../environment/." "${!#}"
elif [[ $2 == install ]]; then
    [[ -e $here/uv_fails ]] && exit 1
    sed -n 's/^/wants /p' "${!#}" >>"$LOG"
    python=$4
    if grep -q '^opencv-contrib-python-headless' "${!#}"; then touch "$(dirname -- "$python")/headless"; fi
fi
exit 0
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("REAL", f"'{sys.executable}'"))
    path.chmod(0o755)


def environment(folder: Path) -> Path:
    executable(folder / "bin" / "python", PYTHON)
    executable(folder / "bin" / "lint-imports", LINT_IMPORTS)
    return folder


@dataclass
class Checkout:
    """A copy of the scripts in a folder with a space in its name, and a PATH with nothing else than the fakes."""

    root: Path
    machine: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> list[str]:
        path = self.machine / "log"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        (self.machine / "log").unlink(missing_ok=True)
        variables = {
            "PATH": f"{self.machine / 'bin'}:/usr/bin:/bin",
            "LOG": str(self.machine / "log"),
            **self.variables,
        }
        command = ["bash", str(self.root / "scripts" / script), *flags]
        return subprocess.run(command, env=variables, cwd=self.machine, capture_output=True, text=True, timeout=60)

    def installs(self) -> list[str]:
        return [line for line in self.log if "pip install" in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, machine = tmp_path / "a folder" / "repo", tmp_path / "machine"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "extras", root / "extras")
    executable(machine / "bin" / "uv", UV)
    executable(machine / "bin" / "python3", PYTHON)
    environment(machine / "environment")
    return Checkout(root, machine)


def without_python(checkout: Checkout) -> None:
    """A machine with the few tools that the scripts call, and no Python of any name."""
    tools = ("bash", "dirname", "basename", "cat", "sed", "mktemp", "rm", "getconf", "cp", "mkdir", "grep", "touch")
    for tool in tools:
        (checkout.machine / "bin" / tool).symlink_to(str(shutil.which(tool)))
    (checkout.machine / "bin" / "python3").unlink()
    checkout.variables["PATH"] = str(checkout.machine / "bin")


def test_makes_an_environment_once(checkout: Checkout) -> None:
    first = checkout.run("train.sh")
    assert first.returncode == 0, first.stderr
    assert f"Making a Python environment in {checkout.root / '.venv'}" in first.stderr
    assert any(line.startswith("uv venv") for line in checkout.log)
    assert len(checkout.installs()) == 1
    assert any(line.startswith("wants torch>=") for line in checkout.log)
    second = checkout.run("train.sh", "-EPOCH", "1")
    assert second.stderr == ""
    assert not any(line.startswith("uv") for line in checkout.log)


def test_changed_requirements_are_installed(checkout: Checkout) -> None:
    checkout.run("train.sh")
    with (checkout.root / "extras" / "requirements.txt").open("a") as file:
        file.write("another>=1\n")
    assert checkout.run("train.sh").returncode == 0
    assert "wants another>=1" in checkout.log


def test_training_needs_no_test_tools_and_tests_do(checkout: Checkout) -> None:
    checkout.run("train.sh")
    assert not any(line.startswith("wants pytest") for line in checkout.log)
    checkout.run("test.sh")
    assert any(line.startswith("wants pytest") for line in checkout.log)
    assert any(line.startswith("wants torch") for line in checkout.log)


@pytest.mark.parametrize("kind", ["venv", "conda"])
def test_active_environment_is_used(checkout: Checkout, kind: str) -> None:
    folder = environment(checkout.machine / "mine")
    conda = {"CONDA_PREFIX": str(folder), "CONDA_DEFAULT_ENV": "mine"}
    checkout.variables = {"VIRTUAL_ENV": str(folder)} if kind == "venv" else conda
    result = checkout.run("train.sh")
    assert result.returncode == 0, result.stderr
    assert f"Checking the packages in {folder}" in result.stderr
    assert not (checkout.root / ".venv").exists()
    assert f"--python {folder / 'bin' / 'python'}" in checkout.installs()[0]


def test_conda_base_is_left_alone(checkout: Checkout) -> None:
    checkout.variables = {"CONDA_PREFIX": str(environment(checkout.machine / "base")), "CONDA_DEFAULT_ENV": "base"}
    checkout.run("train.sh")
    assert (checkout.root / ".venv" / "bin" / "python").exists()


def test_active_environment_with_unfit_python(checkout: Checkout) -> None:
    folder = environment(checkout.machine / "mine")
    (folder / "bin" / "old").touch()
    checkout.variables = {"VIRTUAL_ENV": str(folder)}
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {folder} has Python ")
    assert "needs 3.10 to 3.13" in result.stderr
    assert checkout.log == []


def test_environment_without_python(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert f"error: {checkout.root / '.venv'} has no Python that works. Delete" in result.stderr


def test_uv_finds_a_python_where_none_fits(checkout: Checkout) -> None:
    without_python(checkout)
    assert checkout.run("train.sh").returncode == 0
    assert "uv venv --quiet --seed --python >=3.10,<3.14" in checkout.log[0]


def test_neither_python_nor_uv(checkout: Checkout) -> None:
    without_python(checkout)
    (checkout.machine / "bin" / "uv").unlink()
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert "error: found no Python 3.10 to 3.13. Install one, or install uv" in result.stderr
    assert not (checkout.root / ".venv").exists()


def test_pip_where_uv_fails(checkout: Checkout) -> None:
    (checkout.machine / "bin" / "uv_fails").touch()
    result = checkout.run("train.sh")
    assert result.returncode == 0, result.stderr
    assert "trying pip" in result.stderr
    assert any(line.startswith("python -m pip install -r") for line in checkout.log)


def test_failed_installation_is_told_and_tried_again(checkout: Checkout) -> None:
    (checkout.machine / "bin" / "uv_fails").touch()
    (checkout.machine / "environment" / "bin" / "failing").write_text("-m pip install")
    for _ in range(2):
        result = checkout.run("train.sh")
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1].startswith("error: the packages could not be installed in")
        assert not any("train_pose.py" in line for line in checkout.log)


def test_headless_opencv_where_graphics_libraries_are_missing(checkout: Checkout) -> None:
    (checkout.machine / "environment" / "bin" / "no_libgl").touch()
    result = checkout.run("train.sh")
    assert result.returncode == 0, result.stderr
    assert "opencv-contrib-python can't be imported here: ImportError: libGL.so.1" in result.stderr
    assert "apt-get install libgl1" in result.stderr
    assert any(line.startswith("uv pip uninstall") and line.endswith(" opencv-contrib-python") for line in checkout.log)
    assert any(line.startswith("wants opencv-contrib-python-headless>=") for line in checkout.log)
    checkout.run("test.sh")  # installs more packages: the headless build must stay
    assert not any(line.startswith("wants opencv-contrib-python>") for line in checkout.log)


def test_demo(checkout: Checkout) -> None:
    checkout.run("train.sh", "-MODEL", "sia_pose", "-EPOCH", "1")
    made, trained = checkout.log[-2:]
    assert "make_synthetic.py --output" in made
    assert "launch.py" in trained
    assert "-COCO_ROOT" in trained
    assert trained.endswith("-MODEL sia_pose -EPOCH 1")  # the last of two equal flags counts
    assert "-TIME" not in trained


def test_the_demo_fits_into_what_is_left_of_its_minutes(checkout: Checkout) -> None:
    result = checkout.run("train.sh")
    assert "This demo takes about 10 minutes" in result.stderr
    words = checkout.log[-1].split()
    assert 4.0 <= float(words[words.index("-TIME") + 1]) < 10.0
    assert "This demo" not in checkout.run("train.sh", "-TIME", "3").stderr
    assert checkout.log[-1].endswith("-TIME 3") and checkout.log[-1].count("-TIME") == 1


@pytest.mark.parametrize(
    "flags", [("-COCO_ROOT", "images"), ("-TRAIN_ANN=a.json",), ("--RESUME", "last.pt"), ("-CONFIG=a.yaml",)]
)
def test_own_data_takes_no_demo_settings(checkout: Checkout, flags: tuple[str, ...]) -> None:
    checkout.run("train.sh", *flags)
    assert not any("make_synthetic" in line for line in checkout.log)
    assert checkout.log[-1].split("train_pose.py ")[1] == " ".join(flags)


def test_help_draws_no_people(checkout: Checkout) -> None:
    checkout.run("train.sh", "--help")
    assert checkout.log[-1].endswith("train_pose.py --help")
    assert not any("make_synthetic" in line for line in checkout.log)


def test_all_checks_end_with_pytest(checkout: Checkout) -> None:
    result = checkout.run("test.sh", "tests/utils", "-x")
    assert result.returncode == 0, result.stderr
    steps = [line for line in checkout.log if line.startswith(("python -m", "lint-imports"))]
    assert [step.split()[:4] for step in steps] == [
        ["python", "-m", "ruff", "check"],
        ["python", "-m", "ruff", "format"],
        ["python", "-m", "mypy", "--num-workers"],
        ["lint-imports", "--no-logo"],
        ["python", "-m", "pytest", "-n"],
    ]
    assert steps[-1].endswith(" tests/utils -x")


@pytest.mark.parametrize("step", ["ruff check", "ruff format", "mypy", "pytest"])
def test_a_failing_check_fails(checkout: Checkout, step: str) -> None:
    (checkout.machine / "environment" / "bin" / "failing").write_text(step)
    assert checkout.run("test.sh").returncode != 0
    assert checkout.log[-1].startswith(f"python -m {step}")


def test_ci_runs_the_tests() -> None:
    command = ROOT / ".ci" / "run"
    assert os.access(command, os.X_OK)
    assert "scripts/test.sh" in command.read_text()


def test_the_pipeline_runs_on_drawn_people_or_on_what_is_named(checkout: Checkout) -> None:
    checkout.run("run_pipeline.sh", "-EPOCH", "2")
    made, trained = (next(line for line in checkout.log if name in line) for name in ("make_synthetic", "launch.py /"))
    assert "--close" in made and "-STAGE all" in trained and trained.endswith("-EPOCH 2")
    checkout.run("run_pipeline.sh", "-PIPELINE", "runs/a", "-STAGE=prior")
    assert not any("make_synthetic" in line for line in checkout.log)
    assert checkout.log[-1].endswith("train_pose.py -PIPELINE runs/a -STAGE=prior")
    for name, text, stage in (("five.yaml", "EPOCH: 5\n", True), ("one.yaml", "EPOCH: 5\nSTAGE: prior\n", False)):
        (checkout.root / name).write_text(text)
        checkout.run("run_pipeline.sh", "-CONFIG", str(checkout.root / name))
        assert ("-STAGE all" in checkout.log[-1]) == stage
    checkout.run("run_pipeline.sh", "--help")
    assert checkout.log[-1].endswith("train_pose.py --help")
