from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sia.errors import ConfigError, WeightsError
from sia.runtimes.metadata import ModelMetadata
from sia.runtimes.torch_runtime import TorchRuntime
from tests.inference_helpers import save_weights


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> ModelMetadata:
    return TorchRuntime.load(save_weights(tmp_path_factory.mktemp("weights") / "best.pt"), "cpu").description


def test_a_description_comes_back(description: ModelMetadata) -> None:
    for changed in (description, replace(description, precision="int8", fixed_size=(64, 96), roi_score_thresh=0.3)):
        assert ModelMetadata.from_json(changed.to_json(), "a.onnx") == changed


@pytest.mark.parametrize(
    "change",
    [
        {"format": "sia_pose_export/9"},
        {"model_config": {}},
        {"patch": "x"},
        {"fixed_size": 3},
        {"roi_score_thresh": None},
    ],
)
def test_another_description(description: ModelMetadata, change: dict) -> None:
    text = json.dumps({**json.loads(description.to_json()), **change})
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        ModelMetadata.from_json(text, Path("a.onnx"))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "null"])
def test_no_description(text: str | None) -> None:
    with pytest.raises(WeightsError, match="Make it with scripts"):
        ModelMetadata.from_json(text, "a.onnx")


def test_sizes(description: ModelMetadata) -> None:
    description.check_size((96, 200))
    description.check_size((32, 32))
    with pytest.raises(ConfigError, match="needs 32 pixels on each side"):
        description.check_size((16, 96))
    fixed = replace(description, fixed_size=(64, 96))
    fixed.check_size((64, 96))
    replace(description, fixed_size=(16, 16)).check_size((16, 16))
    with pytest.raises(ConfigError, match="takes 64x96 only, not 96x64"):
        fixed.check_size((96, 64))
