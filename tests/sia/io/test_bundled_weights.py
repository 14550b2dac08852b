"""Which weights a training starts from that was told nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train_pose
from datasets.synthetic import write_dataset
from sia.io import bundled_weights as shipped
from sia.io.checkpoint import load_checkpoint


@pytest.mark.parametrize(
    ("model", "size", "file"),
    [
        ("sia_pose_simple", "n16", "sia_pose_simple-n16.safetensors"),
        ("sia_pose_simple", "n32", "sia_pose_simple-n32.safetensors"),
        ("sia_pose", "n16", "sia_pose-n16.safetensors"),
        ("sia_pose_decoder_led", "n16", "sia_pose_decoder_led-n16.safetensors"),
    ],
)
def test_the_files_that_come_along(model: str, size: str, file: str) -> None:
    path, reason = shipped.bundled_start(model, size, 1000)
    assert path == shipped.POSE_COCO / file
    assert "COCO val2017" in reason


@pytest.mark.parametrize(
    ("size", "images", "reason"),
    [("n16", shipped.FEW, "10000 images"), ("b16", 5, "no weights of sia_pose_simple b16")],
)
def test_random_weights_and_why(size: str, images: int, reason: str) -> None:
    path, said = shipped.bundled_start("sia_pose_simple", size, images)
    assert path is None
    assert said.startswith("random (")
    assert reason in said


def test_the_weights_of_the_very_size_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "POSE_COCO", tmp_path)
    for size in ("n16", "n32"):
        (tmp_path / f"sia_pose_simple-{size}.safetensors").write_bytes(shipped.DEFAULT.read_bytes())
    path, _ = shipped.bundled_start("sia_pose_simple", "n16", 5)
    assert path == tmp_path / "sia_pose_simple-n16.safetensors"


def test_a_training_starts_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that moves nothing ends where it began: with the bundled weights, or with others."""
    write_dataset(tmp_path / "people", 2, 2, 64, 0, 0)
    people = tmp_path / "people"
    flags = (
        f"-MODEL sia_pose_simple -COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json "
        f"-IMGSZ 64 -BS 2 -EPOCH 1 -LR 1e-9 -EMA 0 -WORKERS 0 -DEVICE cpu -OUTPUT {tmp_path}"
    )
    for name, more in (("shipped", ""), ("scratch", "-INIT scratch")):
        assert train_pose.main(f"{flags} -EXP {name} {more}".split()) == 0
    said = capsys.readouterr().out
    assert "sia_pose_simple-n16.safetensors, which is bundled" in said
    assert "random (-INIT scratch)" in said
    key = "roi_head.heat.weight"
    known = load_checkpoint(shipped.DEFAULT)["weights"][key].float()
    of_run = {name: load_checkpoint(tmp_path / name / "weights" / "best.pt") for name in ("shipped", "scratch")}
    assert torch.allclose(of_run["shipped"]["weights"][key], known, atol=1e-4)
    assert not torch.allclose(of_run["scratch"]["weights"][key], known, atol=1e-2)


def test_where_nothing_is_named_it_is_the_simple_n16() -> None:
    assert shipped.find_weights() == shipped.find_weights("n16") == shipped.bundled_models()["sia_pose_simple-n16"]
