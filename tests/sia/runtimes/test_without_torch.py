"""An exported model runs where torch is not installed: from the image file to results.json and the drawn image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.synthetic import SyntheticScenes
from sia.io.bundled_weights import DEFAULT
from sia.io.image_folder import find_images
from sia.io.images import read_image, write_image
from sia.runtimes.export_onnx import export_onnx
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from tests.conftest import ROOT

SIZE = (256, 256)
SURE, SHOWN = 0.2, 0.1
"""Scores from which on a person must be found by both, and is written at all: between them, rounding decides."""

TORCH = ("torch", "torchvision", "timm", "einops", "transformers")
MORE = ("scipy", "av", "tqdm", "pycocotools")
"""What images do not need either."""

BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name in {}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Missing())
"""

IMAGES = """
import inference_image_pose
sys.exit(inference_image_pose.main(sys.argv[1:]))
"""

EVERYTHING = """
from pathlib import Path
import sia.commands.jobs.video_job
from sia.errors import ConfigError
from sia.runtimes.predictor import Predictor
try:
    Predictor.load(Path(sys.argv[1]))
except ConfigError as error:
    print(error)
"""


def run_without(packages: tuple[str, ...], code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", BLOCKED.format(packages) + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def bundled() -> TorchRuntime:
    return TorchRuntime.load(DEFAULT, "cpu")


@pytest.fixture(scope="module")
def exported(bundled: TorchRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("exported") / "bundled.onnx"
    export_onnx(bundled, path, SIZE)
    return path


def assert_the_same_people(
    bundled: TorchRuntime, exported: Path, images: Path, folder: Path, size: tuple[int, int] = SIZE
) -> None:
    """Each of PyTorch's people is within 0.1 pixels of one of the export's, and each image is drawn."""
    flags = ["--weight_path", exported, "--image_path", images, "--conf_thresh", SHOWN, "--output_dir", folder]
    flags += ["--imgsz", f"{size[0]}x{size[1]}"]
    assert "ONNX Runtime" in run_without((*TORCH, *MORE), IMAGES, *flags)
    entries, rows = (json.loads((folder / name).read_text()) for name in ("run.json", "results.json"))
    files, count = find_images(str(images)), 0
    everyone = Predictor(bundled, size).predict([read_image(file) for file in files])
    for file, entry, people in zip(files, entries["images"], everyone, strict=True):
        assert entry["file_name"] == str(file) and (folder / entry["annotated"]).is_file()
        found = [row for row in rows if row["image_id"] == entry["id"]]
        points = np.array([row["keypoints"] for row in found]).reshape(len(found), -1, 3)[..., :2]
        for keypoints, score in zip(people.keypoints, people.scores, strict=True):
            if score >= SURE:
                apart = np.linalg.norm(points - keypoints, axis=-1).max(-1)
                assert apart.min() <= 0.1
                assert abs(found[apart.argmin()]["score"] - score) <= 1e-3
                count += 1
    assert count


@pytest.mark.parametrize("size", [SIZE, (160, 208)])
def test_synthetic_people(bundled: TorchRuntime, exported: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    scenes = SyntheticScenes(192, seed=0)
    (tmp_path / "images").mkdir()
    for index in range(4):
        write_image(tmp_path / "images" / f"{index}.png", scenes.scene(index).image)
    assert_the_same_people(bundled, exported, tmp_path / "images", tmp_path / "out", size)


def test_photographs(bundled: TorchRuntime, exported: Path, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for file in find_images(str(photographs / "coco_person" / "images"))[:6]:
        (tmp_path / "images" / file.name).symlink_to(file)
    assert_the_same_people(bundled, exported, tmp_path / "images", tmp_path / "out")


def test_only_a_checkpoint_needs_torch() -> None:
    assert run_without(TORCH, EVERYTHING, DEFAULT) == f"Running {DEFAULT} needs the package torch: pip install torch\n"
