"""Adapters: they change nothing at first, take all gradients, and merge into weights that need no peft."""

from __future__ import annotations

import functools
from unittest import mock

import pytest
import timm
import torch

from sia.backbones.lora import HalfLinear, add_adapters, halve_frozen, plain_weights
from sia.losses.criterion import PoseCriterion
from sia.registry import create_model

pytest.importorskip("peft")

BACKBONES = [None, "vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3_qkvb"]


def built(config):
    with mock.patch("timm.create_model", functools.partial(timm.create_model, depth=3)):
        return create_model(config)


def step(model, batch, dtype=torch.float32) -> None:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = model(batch.images, batch)
    losses = PoseCriterion(model.sigmas)(output, batch, max(1.0, float(batch.people.sum())))
    sum(losses.values()).backward()


def disturb(model) -> None:
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_adapters_learn_in_the_backbone_and_each_has_a_gradient(make_config, make_batch, backbone):
    model = built(make_config("sia_pose", backbone=backbone)).train()
    before = model.state_dict()
    images, batch = torch.rand(1, 3, 64, 64), make_batch([2, 1], size=(48, 64))
    with torch.no_grad():
        plain = model.eval()(images).people.poses
        add_adapters(model.backbone, 2)
        torch.testing.assert_close(model(images).people.poses, plain)  # B starts at zero
    step(model.train(), batch)
    for name, parameter in model.named_parameters():
        trainable = not name.startswith("backbone.") or ".lora_" in name
        assert (parameter.grad is not None) == trainable, name
    blocks = [n for n, m in model.backbone.vit.blocks.named_modules() if isinstance(m, torch.nn.Linear)]
    assert sum("lora_A" in name for name in blocks) * 3 == len(blocks)  # a matrix, its A, its B
    assert {k: v.shape for k, v in plain_weights(model).items()} == {k: v.shape for k, v in before.items()}


@pytest.mark.parametrize("half", [False, True])
def test_merged_weights_compute_the_same_without_adapters(make_config, half):
    config = make_config("sia_pose", backbone="eva02_tiny_patch14_224")
    torch.manual_seed(0)
    model = built(config)
    add_adapters(model.backbone, 2)
    if half:
        halve_frozen(model.backbone)
    disturb(model)
    merged = built(config)
    merged.load_state_dict(plain_weights(model))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        adapted, plain = model.eval()(images), merged.eval()(images)
        unadapted = merged.backbone.vit.blocks[0].attn.qkv.weight
    torch.testing.assert_close(adapted.people.poses, plain.people.poses, rtol=1e-3, atol=1e-4)
    assert unadapted.dtype == torch.float32
    assert not any("lora" in key or "base_layer" in key for key in plain_weights(model))


def test_halved_weights_are_the_same_numbers_under_autocast():
    """What autocast makes of a float32 weight is what is kept."""
    layer = torch.nn.Linear(5, 7)
    half, x = HalfLinear.of(layer), torch.randn(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(half(x), layer(x))
    assert half(x).dtype == torch.float32
    assert half.weight.nbytes * 2 == layer.weight.nbytes


def test_halved_training_learns_in_float32(make_config, make_batch):
    model = built(make_config("sia_pose_simple", backbone="vit_tiny_patch16_224"))
    add_adapters(model.backbone, 4)
    halve_frozen(model.backbone)
    step(model.train(), make_batch([1, 2]), torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.bfloat16 if name.endswith("base_layer.weight") else torch.float32), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_without_peft_it_says_what_to_install(make_config, monkeypatch):
    import sys

    from sia.errors import ConfigError

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"-LORA needs the package peft.*pip install peft"):
        add_adapters(built(make_config()).backbone, 2)
