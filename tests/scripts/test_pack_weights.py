"""Small files of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.pack_weights import main
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model
from sia.runtimes.predictor import Predictor
from tests.inference_helpers import save_weights


def test_the_small_file_finds_the_same_people(tmp_path: Path) -> None:
    source, small = save_weights(tmp_path / "best.pt"), tmp_path / "small.pt"
    content = load_checkpoint(source)
    save_checkpoint(source, {**content, "training": {"optimizer": torch.zeros(1000)}})
    assert main(["--weight_path", str(source), "--output", str(small)]) == 0
    assert "training" not in load_checkpoint(small)
    assert small.stat().st_size < 0.65 * source.stat().st_size
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    found = [Predictor.load(path, "cpu").predict([image])[0] for path in (source, small)]
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=0.02)


def test_the_refiner_may_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, small = save_weights(tmp_path / "best.pt", name="sia_pose"), tmp_path / "small.pt"
    assert main(["--weight_path", str(source), "--output", str(small), "--model", "sia_pose_simple"]) == 0
    old, new = (load_checkpoint(path) for path in (source, small))
    assert new["model_config"]["name"] == "sia_pose_simple"
    refiner = {key for key in old["weights"] if key.startswith("roi_head.refiner.")}
    assert refiner and old["weights"].keys() - new["weights"].keys() == refiner
    Predictor.load(small, "cpu")
    for model, message in (("sia_pose", "missing: "), ("sia_pose_simpel", "There is no model")):
        assert main(["--weight_path", str(small), "--output", str(tmp_path / "no.pt"), "--model", model]) == 1
        assert message in capsys.readouterr().err


def test_patches_of_32_px_see_the_reduced_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, faster = save_weights(tmp_path / "best.pt", size="n16"), tmp_path / "faster.pt"
    flags = ["--weight_path", str(source), "--output", str(faster), "--imgsz", "128"]
    assert main([*flags, "--size", "n32"]) == 0
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    doubled = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        first, second = (built(path).backbone(seen).tokens for path, seen in ((source, image), (faster, doubled)))
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)
    assert main([*flags[:3], str(tmp_path / "no.pt"), "--size", "ti16"]) == 1
    assert "of sia_pose_simple in ti16" in capsys.readouterr().err


def built(path: Path) -> PoseModel:
    content = load_checkpoint(path)
    model = create_model(ModelConfig.from_dict(content["model_config"]))
    model.load_state_dict(content["weights"])
    return model.eval()


def test_another_input_size_by_default(tmp_path: Path) -> None:
    source, larger = save_weights(tmp_path / "best.pt"), tmp_path / "larger.pt"
    assert main(["--weight_path", str(source), "--output", str(larger), "--imgsz", "96x128"]) == 0
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    found = [
        Predictor.load(source, "cpu", image_size=(96, 128)).predict([image])[0],
        Predictor.load(larger, "cpu").predict([image])[0],
    ]
    np.testing.assert_allclose(found[0].boxes, found[1].boxes, atol=0.5)


def test_the_mean_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, mean = save_weights(tmp_path / "a.pt"), save_weights(tmp_path / "b.pt"), tmp_path / "mean.pt"
    content = load_checkpoint(second)
    weights = {key: value + 2 if value.ndim > 1 else value for key, value in content["weights"].items()}
    save_checkpoint(second, {**content, "weights": weights})
    assert main(["--weight_path", str(first), str(second), "--output", str(mean)]) == 0
    made = load_checkpoint(mean)["weights"]
    for key, value in load_checkpoint(first)["weights"].items():
        expected = value + 1 if value.ndim > 1 else value
        torch.testing.assert_close(made[key].to(value.dtype), expected, atol=2e-3, rtol=1e-3)
    larger, other = (
        save_weights(tmp_path / "larger.pt", image_size=(96, 96)),
        save_weights(tmp_path / "other.pt", name="sia_pose"),
    )
    assert main(["--weight_path", str(larger), str(first), "--output", str(tmp_path / "both.pt")]) == 0
    assert load_checkpoint(tmp_path / "both.pt")["model_config"]["image_size"] == (96, 96)
    assert main(["--weight_path", str(first), str(other), "--output", str(tmp_path / "no.pt")]) == 1
    assert "other.pt is of another model" in capsys.readouterr().err


def test_faults_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_weights(tmp_path / "best.pt")
    assert main(["--weight_path", str(source), "--output", str(source)]) == 1
    content = load_checkpoint(source)
    key = next(name for name, value in content["weights"].items() if value.ndim > 1)
    content["weights"][key] = torch.full_like(content["weights"][key], 1e9)
    save_checkpoint(source, content)
    assert main(["--weight_path", str(source), "--output", str(tmp_path / "small.pt")]) == 1
    assert not (tmp_path / "small.pt").exists()
    first, second = capsys.readouterr().err.splitlines()
    assert "exists already" in first
    assert key in second
    save_checkpoint(source, {**content, "weights": [1, 2]})
    for flags in ([], ["--imgsz", "96"]):
        assert main(["--weight_path", str(source), "--output", str(tmp_path / "small.pt"), *flags]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "holds no weights" in line
