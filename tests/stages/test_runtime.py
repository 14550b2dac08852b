from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.runtime import Description, TorchRuntime
from tests.inference_helpers import save_weights
from utils.device import multiplies_bf16
from utils.errors import ConfigError, WeightsError


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    return TorchRuntime.load(save_weights(tmp_path_factory.mktemp("weights") / "best.pt"), "cpu").description


def test_a_description_comes_back(description: Description) -> None:
    for changed in (description, replace(description, precision="int8", fixed_size=(64, 96))):
        assert Description.from_json(changed.to_json(), "a.onnx") == changed


@pytest.mark.parametrize(
    "change", [{"format": "sia_pose_export/9"}, {"model_config": {}}, {"patch": "x"}, {"fixed_size": 3}]
)
def test_another_description(description: Description, change: dict) -> None:
    text = json.dumps({**json.loads(description.to_json()), **change})
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        Description.from_json(text, Path("a.onnx"))


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "null"])
def test_no_description(text: str | None) -> None:
    with pytest.raises(WeightsError, match="Make it with scripts"):
        Description.from_json(text, "a.onnx")


def test_sizes(description: Description) -> None:
    description.check_size((96, 200))
    with pytest.raises(ConfigError, match="4 patches"):
        description.check_size((32, 32))
    fixed = replace(description, fixed_size=(64, 96))
    fixed.check_size((64, 96))
    replace(description, fixed_size=(32, 32)).check_size((32, 32))
    with pytest.raises(ConfigError, match="takes 64x96 only, not 96x64"):
        fixed.check_size((96, 64))


@pytest.mark.skipif(not multiplies_bf16(torch.device("cpu")), reason="this processor has no bfloat16")
def test_products_are_rounded_where_the_processor_multiplies_bfloat16(tmp_path: Path) -> None:
    """Scores change by little, and a second call gives the same numbers."""
    path = save_weights(tmp_path / "best.pt")
    rounded, exact = TorchRuntime.load(path, "cpu"), TorchRuntime.load(path, "cpu", exact=True)
    assert "products in bfloat16" in rounded.describe() and "bfloat16" not in exact.describe()
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 255, (1, 3, 96, 64), dtype=np.uint8))
    with torch.inference_mode():
        found, again, expected = rounded.find(images), rounded.find(images), exact.find(images)
    assert all(torch.equal(part, other) for part, other in zip(found, again, strict=True))
    apart = float((found.scores - expected.scores).abs().max())
    assert found.scores.dtype == torch.float32 and 0 < apart < 0.01
