"""What is wrong with a command line is said before anything heavy is loaded, in any locale, in one line."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sia
from sia.registry import ROI_SCORE_THRESH

ROOT = Path(__file__).resolve().parents[1]

HEAVY = ("torch", "timm", "cv2", "av", "scipy", "transformers", "matplotlib", "PIL", "onnxruntime", "openvino")


def is_command(path: Path) -> bool:
    return '__name__ == "__main__"' in path.read_text(encoding="utf-8")


COMMANDS = [
    "train_pose.py",
    "inference_image_pose.py",
    "inference_video_pose.py",
    "sia/cli.py",
    "sia/cli.py predict",
    "sia/cli.py evaluate",
    "sia/cli.py export",
    "sia/cli.py info",
    "sia/cli.py lift",
    "sia/cli.py system",
    "sia/cli.py suggest",
    "sia/cli.py annotate",
    "sia/cli.py demo",
    "sia/cli.py push",
    "sia/cli.py pull",
    *(f"scripts/{path.name}" for path in sorted((ROOT / "scripts").glob("*.py"))),
    *(f"benchmarks/{path.name}" for path in sorted((ROOT / "benchmarks").glob("*.py")) if is_command(path)),
    "benchmarks/comparison/run.py",
    "benchmarks/comparison/worker.py",
]

DATA = "-COCO_ROOT . -TRAIN_ANN pyproject.toml -VAL_ANN"
MISSING = [
    f"train_pose.py -MODEL sia_pose {DATA} {{}}",
    f"train_pose.py -STAGE all {DATA} {{}}",
    "train_pose.py --RESUME {}",
    "train_pose.py -CONFIG {}",
    "scripts/launch.py train_pose.py --RESUME {}",
    "inference_image_pose.py --image_path {}",
    "inference_image_pose.py --image_path . --weight_path {}",
    "inference_image_pose.py --image_path . --pipeline {}",
    "inference_video_pose.py --video_path {}",
    "sia/cli.py predict {}",
    "sia/cli.py info {}",
    "sia/cli.py lift {}",
    "sia/cli.py suggest --images {}",
    "sia/cli.py annotate --format cvat --images {}",
    "sia/cli.py demo --weight_path {}",
    "sia/cli.py push {} me/poses",
    "sia/cli.py evaluate --results pyproject.toml --ann_file {}",
    "sia/cli.py export --format onnx --weight_path {}",
    "scripts/evaluate.py --results pyproject.toml --ann_file {}",
    "scripts/evaluate.py --ann_file pyproject.toml --coco_root . --weight_path {}",
    "scripts/evaluate.py --results pyproject.toml --ann_file pyproject.toml --compare {}",
    "scripts/export.py --format onnx --weight_path {}",
    "scripts/pack_weights.py --output new.pt --weight_path {}",
    "scripts/import_labels.py --format cvat --output new.json --input {}",
    "scripts/merge_annotations.py --output new.json --img_root . --img_dir . --ann_file {}",
    "scripts/cross_validate.py --output new -- -MODEL sia_pose -COCO_ROOT . -TRAIN_ANN {}",
    "scripts/validate_annotations.py --img_dir . --ann_file {}",
    "scripts/download_models.py --model vitpose --mirror {}",
]

# Runs a script as python would, in an interpreter that can't import what is heavy.
LIGHT = f"""
import runpy, sys
for name in {HEAVY!r}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def light(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIGHT, *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        errors="surrogateescape",
    )  # fmt: skip


def all_light(commands: list[str], **environment: str) -> list[subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda command: light(command, **environment), commands))


def test_help_loads_nothing_heavy() -> None:
    for command, result in zip(COMMANDS, all_light([f"{command} --help" for command in COMMANDS]), strict=True):
        assert (result.returncode, result.stderr) == (0, ""), command
        assert result.stdout.startswith("usage: "), command


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}])
def test_a_missing_file_is_one_line(environment: dict[str, str]) -> None:
    name = "fehlt-größe.json"
    for command, result in zip(MISSING, all_light([c.format(name) for c in MISSING], **environment), strict=True):
        assert result.returncode in (1, 2), command
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, (command, result.stderr)
        assert "fehlt-" in result.stderr and "Traceback" not in result.stderr, command


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import sys, sia; sia.SiaError, sia.__version__; print(sorted({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sia.nothing  # noqa: B018


def test_the_default_of_looks_is_that_of_the_model() -> None:
    for command in ("scripts/evaluate.py", "scripts/export.py"):
        assert f"(default: {ROI_SCORE_THRESH}" in " ".join(light(f"{command} --help").stdout.split()).replace("- ", "")
