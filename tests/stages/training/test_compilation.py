"""--COMPILE: the same training, from compiled blocks, and one line where nothing can be compiled."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train_pose
from datasets.synthetic import write_dataset
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 4, 2, 64, 0, 0)
    return folder


def flags(people: Path, name: str) -> list[str]:
    return (
        f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -BS 2 -EPOCH 1 -WORKERS 0 -DEVICE cpu -PRECISION fp32 "
        f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json "
        f"-OUTPUT {people} -EXP {name}"
    ).split()


def train_compiled(people: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as what was compiled stays with a process.

    For no vector instructions, which torch would first try one by one, and by no further processes.
    """
    quick = {"TORCHINDUCTOR_VEC_ISA_OK": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return subprocess.run(
        [sys.executable, ROOT / "train_pose.py", *flags(people, name), "--COMPILE"], text=True, capture_output=True,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": f"{people}/{name}-cache", **quick, **environment}, check=False,
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    with (folder / "results.csv").open() as file:
        return [float(value) for row in csv.DictReader(file) for key, value in row.items() if "loss" in key and value]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_same_training(people: Path) -> None:
    assert train_pose.main(flags(people, "plain")) == 0
    done = train_compiled(people, "compiled")
    assert done.returncode == 0, done.stderr
    assert losses(people / "compiled") == pytest.approx(losses(people / "plain"), rel=1e-3)
    compiled = {path.name for path in (people / "compiled-cache").rglob("*.main.cpp")}
    assert len(compiled) > 2, compiled  # one is the trial's


def test_no_compiler_is_one_line(people: Path) -> None:
    done = train_compiled(people, "without", CXX="/nowhere/c++")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --COMPILE found no working compiler")
    assert not (people / "without").exists()
