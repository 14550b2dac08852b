"""Lists of dependencies agree, the wheel holds the library alone, `datasets` and `utils` harm nobody, layers hold."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import sia
from sia.io.bundled_weights import DEFAULT
from sia.io.optional import EXTRAS
from tests.sia.evaluation.made_up import labels, results, save

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements-dev.txt")


def lines(name: str) -> list[str]:
    text = (ROOT / "extras" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def parse(entries: list[str]) -> list[Requirement]:
    return [Requirement(entry.split("  #")[0]) for entry in entries]


def requirements(name: str) -> list[Requirement]:
    return parse(lines(name))


def without_headless(requirement: Requirement) -> str:
    """OpenCV's two builds are one choice: see pyproject.toml."""
    return str(requirement).replace("opencv-contrib-python-headless", "opencv-contrib-python")


def declared() -> dict[str, list[Requirement]]:
    """Those of pyproject.toml by extra; "" has what every installation needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        name: parse(entries)
        for name, entries in {"": project["dependencies"], **project["optional-dependencies"]}.items()
    }


def test_pyproject_and_the_lists_agree() -> None:
    every = {
        without_headless(entry) for entries in declared().values() for entry in entries if entry.name != "sia-pose"
    }
    assert every == {str(entry) for name in FILES for entry in requirements(name)}


def test_extras_exist_and_the_base_is_small() -> None:
    extras = declared()
    named = {
        extra for entries in extras.values() for entry in entries if entry.name == "sia-pose" for extra in entry.extras
    }
    assert named <= set(extras)
    large = {"wandb", "tensorboard", "transformers", "decord", "pycocotools", "scipy", "av", "matplotlib"}
    assert large.isdisjoint(entry.name for entry in extras[""])
    assert "torch" not in {entry.name for entry in extras["onnx"]}
    renamed = {"yaml": "pyyaml"}
    for name, packages in EXTRAS.items():
        wanted = {renamed.get(package, package) for package in packages}
        assert {entry.name.replace("-", "_") for entry in extras[name]} >= wanted, name
    assert set(EXTRAS) == set(extras) - {"", "dev"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by setuptools itself, on a copy, as it leaves files where it works; of the weights one file is enough."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT / "sia", folder / "sia", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "extras", folder / "extras")
    (folder / "weights" / "pose_coco").mkdir(parents=True)
    for name in (
        "pyproject.toml",
        "README.md",
        "weights/README.md",
        "weights/check_images.jpg",
        f"weights/pose_coco/{DEFAULT.name}",
    ):
        shutil.copy(ROOT / name, folder / name)
    code = "import setuptools.build_meta as build; build.build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, timeout=200)
    (path,) = (folder / "out").iterdir()
    return path


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert archive.read(entry_points).decode().split() == ["[console_scripts]", "sia", "=", "sia.cli:main"]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sia", "sia_pose"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sia").rglob("*.py")}
    data = {"sia/py.typed", "sia/weights/check_images.jpg", f"sia/weights/pose_coco/{DEFAULT.name}"}
    data |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "sia").rglob("*") if path.suffix in (".html", ".js")}
    assert {name for name in names if name.startswith("sia/")} == modules | data


def test_the_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )

    code = "import sia.io.bundled_weights as bundled; print(bundled.DEFAULT, bundled.DEFAULT.is_file())"
    assert run("-c", code).stdout == f"{site / 'sia/weights/pose_coco' / DEFAULT.name} True\n"
    assert run("-m", "sia", "version").stdout == f"{sia.__version__}\n"
    assert (
        run("-m", "sia", "predict", "none.jpg").stderr == "error: Can't read none.jpg: no such file. Check the path.\n"
    )
    save(tmp_path, val=labels(2), results=results(labels(2)))
    done = run("-m", "sia", "evaluate", "--results", "results.json", "--ann_file", "val.json", "--output_dir", "out")
    assert "AP   100.0" in done.stdout, done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    code = "import pathlib, sia.commands.pipeline as above; above.open_pipeline(pathlib.Path('p'), 'cpu', 1)"
    assert "ConfigError: --pipeline p needs the training code" in run("-c", code).stderr


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
