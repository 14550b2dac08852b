"""The lists of dependencies agree, the folder names `datasets` and `utils` harm no library, the layers hold."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements-dev.txt")


def lines(name: str) -> list[str]:
    text = (ROOT / "extras" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def parse(entries: list[str]) -> list[Requirement]:
    return [Requirement(entry.split("  #")[0]) for entry in entries]


def requirements(name: str) -> list[Requirement]:
    return parse(lines(name))


def test_pyproject_reads_the_lists(tmp_path: Path) -> None:
    """Asked of setuptools itself, on a copy, as it leaves files where it works."""
    pytest.importorskip("setuptools")
    shutil.copytree(ROOT / "extras", tmp_path / "extras")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "out").mkdir()
    code = "import setuptools.build_meta as build; build.prepare_metadata_for_build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=100)
    (metadata,) = (tmp_path / "out").glob("*.dist-info")
    declared = [Requirement(text) for text in importlib.metadata.Distribution.at(metadata).requires or []]
    wanted = {name: sorted(map(str, requirements(name))) for name in FILES}
    assert sorted(str(entry) for entry in declared if "extra" not in str(entry.marker)) == wanted["requirements.txt"]
    extra = [f"{entry.name}{entry.specifier}" for entry in declared if "extra" in str(entry.marker)]
    assert sorted(extra) == wanted["requirements-dev.txt"]


def test_pyproject_and_scripts_take_the_same_pythons() -> None:
    declared = re.search(r'requires-python = "(.+?)"', (ROOT / "pyproject.toml").read_text())
    script = (ROOT / "scripts" / "environment.sh").read_text()
    oldest, newest = re.findall(r'^(?:OLDEST|NEWEST)_PYTHON="3, (\d+)"', script, flags=re.MULTILINE)
    assert declared is not None
    supported = SpecifierSet(declared[1])
    assert [minor for minor in range(6, 20) if f"3.{minor}" in supported] == list(range(int(oldest), int(newest) + 1))
    assert f"{{python:-{declared[1]}}}" in script


@pytest.mark.parametrize("name", FILES)
def test_each_requirement_has_a_lower_bound_and_a_reason(name: str) -> None:
    for line in lines(name):
        requirement, _, reason = line.partition("  # ")
        assert ">=" in requirement, line
        assert len(reason) > 5, line


@pytest.mark.parametrize("name", FILES)
def test_installed_versions_are_allowed(name: str) -> None:
    for requirement in requirements(name):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:  # where there are no graphics libraries; see environment.sh
            assert requirement.name == "opencv-contrib-python"
            version = importlib.metadata.version("opencv-contrib-python-headless")
        assert version in requirement.specifier, requirement


def test_decord_is_asked_for_only_where_it_has_wheels() -> None:
    (decord,) = (entry for entry in requirements("requirements.txt") if entry.name == "decord")
    assert decord.marker is not None
    machines = {("linux", "x86_64"): True, ("linux", "aarch64"): False, ("darwin", "arm64"): False}
    for (system, machine), wanted in machines.items():
        assert decord.marker.evaluate({"sys_platform": system, "platform_machine": machine}) is wanted


def test_packages_are_not_namespaces() -> None:
    """A namespace package loses against an installed one of its name, such as Hugging Face's `datasets`."""
    for name in ("sia", "datasets", "utils", "stages"):
        assert (ROOT / name / "__init__.py").is_file()


def test_libraries_import_beside_our_datasets_and_utils() -> None:
    code = (
        "import datasets, utils, timm, timm.data, wandb, torchvision, faster_coco_eval; "
        "from transformers import AutoModel, VitPoseForPoseEstimation; "
        "print(datasets.__file__, utils.__file__, sep=chr(10))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(ROOT / "datasets" / "__init__.py"), str(ROOT / "utils" / "__init__.py")]


def test_layers() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout
    assert re.search(r"[1-9]\d* kept, 0 broken", result.stdout)


@pytest.mark.parametrize("script", ["train_pose", "inference_image_pose", "inference_video_pose"])
def test_flags_are_answered_without_loading_torch(script: str) -> None:
    code = f"""
import sys, {script}
try:
    {script}.main(["--help"])
except SystemExit as ended:
    print(ended.code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: " in done.stdout
    assert done.stdout.endswith("0 False\n")
