"""What a file says of its model is checked against bounds and against its tensors, before the model is built."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from sia.errors import WeightsError
from sia.io.bundled_weights import bundled_models
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.io.weights import fit_parts
from sia.registry import read_description
from sia.runtimes.torch_runtime import TorchRuntime
from tests.inference_helpers import save_weights


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "best.pt", name="sia_pose_decoder_led")


def changed(good: Path, path: Path, part: str, changes: dict[Any, Any]) -> Path:
    payload = load_checkpoint(good)
    save_checkpoint(path, {**payload, part: {**payload[part], **changes}})
    return path


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("model_config", {"num_keypoints": -1}, "$.num_keypoints"),
        ("model_config", {"num_keypoints": "17"}, "Expected `int`, got `str` - at `$.num_keypoints`"),
        ("model_config", {"image_size": [64, 10**9]}, "$.image_size[1]"),
        ("model_config", {"image_size": [64]}, "$.image_size"),
        ("model_config", {"image_size": None}, "$.image_size"),
        ("model_config", {"mean_pose": [[0.0, float("inf")]] * 17}, "$.mean_pose[0][1]"),
        ("model_config", {"sigmas": ["a"] * 17}, "$.sigmas[0]"),
        ("model_config", {"name": ["sia_pose"]}, "$.name"),
        ("model_config", {"roi_size": 10**30}, "Crops of"),
        ("model_config", {"roi_size": [64]}, "$.roi_size"),
        ("model_config", {"backbone": "x" * 10_000}, "$.backbone"),
        ("model_config", {"backbone": "resnet18"}, "describes a model that can't be built"),
        ("model_config", {"size": "n16"}, "don't fit this model. missing: "),
        ("skeleton", {"names": list(range(17))}, "$.names[0]"),
        ("skeleton", {"edges": [[0, 10**30]]}, "leave the range"),
        ("skeleton", {"sigmas": [float("nan")] * 17}, "positive sigmas"),
        ("weights", {"head.mean_pose": torch.full((17, 2), torch.nan)}, "not finite: head.mean_pose"),
        ("weights", {"backbone.grid": torch.zeros(0)}, "wrong shape: backbone.grid (0,) instead of (2,)"),
        ("weights", {3: torch.ones(1)}, "not in the model: 3"),
    ],
)
def test_a_description_that_can_not_be(good: Path, tmp_path: Path, part: str, change: dict, message: str) -> None:
    path = changed(good, tmp_path / "bad.pt", part, change)
    with pytest.raises(WeightsError) as caught:
        TorchRuntime.load(path, "cpu")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"backbone": "vit_giant_patch14_dinov2"}, {"size": "l14"}])
def test_a_giant_is_refused_before_it_is_allocated(good: Path, tmp_path: Path, change: dict) -> None:
    path = changed(good, tmp_path / "bad.pt", "model_config", change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="don't fit this model"):
        TorchRuntime.load(path, "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 300_000  # kB; the model has 1 to 4 GB


def test_the_weights_that_come_along_are_described() -> None:
    assert len(bundled_models()) == 6
    for path in bundled_models().values():
        config, skeleton = read_description(load_checkpoint(path), path)
        assert config.num_keypoints == skeleton.num_keypoints == 17


@pytest.mark.parametrize("part", ["model_config", "skeleton"])
def test_a_tensor_in_the_place_of_a_description(good: Path, part: str) -> None:
    payload = {**load_checkpoint(good), part: torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"^best\.pt doesn't describe a SIA Pose model"):
        read_description(payload, "best.pt")


def test_parts_that_only_one_side_has_are_no_error() -> None:
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(1, 1), "more": torch.nn.Linear(1, 1)})
    given = {"body.weight": torch.ones(1, 1), "body.bias": torch.ones(1), "less.weight": torch.ones(1, 1)}
    fitted = fit_parts(given, model, "more.", "less.")
    assert fitted.keys() == model.state_dict().keys()
    assert fitted["body.weight"] is given["body.weight"]
    assert torch.equal(fitted["more.weight"], model.state_dict()["more.weight"])
    assert "less.weight" in fit_parts(given, model, "more."), "what isn't named has to fit"
