from __future__ import annotations

import pytest
import torch

from sia.backbone import build_backbone
from sia.registry import ModelConfig, create_model
from utils.optimizer import is_decayed, learning_rates, make_optimizer


def model_of(name: str) -> torch.nn.Module:
    return create_model(ModelConfig(name, "test", 3, (64, 64), ((0.0, 0.0),) * 3, (0.1,) * 3))


@pytest.mark.parametrize("name", ["sia_pose_simple", "sia_pose", "sia_pose_decoder_led"])
@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_every_parameter_is_in_one_group_with_its_rate(name: str, decay: float) -> None:
    model = model_of(name)
    backbone = model.backbone
    optimizer = make_optimizer(
        model, lr=1.0, weight_decay=0.05, layer_decay=decay, layer_index=backbone.layer_index, depth=backbone.depth
    )
    rows = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters())) == len(rows)
    for key, parameter in model.named_parameters():
        group = rows[id(parameter)]
        assert group["weight_decay"] == (0.05 if is_decayed(key, parameter) else 0.0)
        expected = 1.0
        if key.startswith("backbone.") and decay < 1:
            expected = decay ** (backbone.depth + 1 - backbone.layer_index(key.removeprefix("backbone.")))
        assert group["lr"] == pytest.approx(expected)


def test_what_is_never_decayed() -> None:
    model = model_of("sia_pose")
    free = {key for key, parameter in model.named_parameters() if not is_decayed(key, parameter)}
    assert all(key in free for key, parameter in model.named_parameters() if parameter.ndim < 2)
    assert "backbone.vit.pos_embed" in free
    vit = build_backbone("ti16", None, (64, 64))
    tokens = {key for key, p in vit.named_parameters() if "token" in key or "pos_embed" in key}
    assert tokens
    assert not any(is_decayed(key, dict(vit.named_parameters())[key]) for key in tokens)
    assert is_decayed("backbone.vit.blocks.0.mlp.fc1.weight", torch.zeros(2, 2))


def test_learning_rates_for_the_log() -> None:
    model = model_of("sia_pose_simple")
    backbone = model.backbone
    options = {"weight_decay": 0.1, "layer_index": backbone.layer_index, "depth": backbone.depth}
    assert learning_rates(make_optimizer(model, lr=0.5, layer_decay=1.0, **options)) == {"new": 0.5}
    rates = learning_rates(make_optimizer(model, lr=1.0, layer_decay=0.5, **options))
    assert rates["new"] == 1.0
    assert rates["backbone_first"] == 0.5 ** (backbone.depth + 1)
    assert rates["backbone_last"] == 0.5  # the last block; this variant has a final norm of its own
