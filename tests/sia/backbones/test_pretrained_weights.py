"""Weights are fitted key by key: positions interpolated, misfits refused by name, the architecture told."""

from __future__ import annotations

import re

import pytest
import torch
import transformers
from safetensors.torch import load_file

from sia.backbones.build import SIZES, build_backbone
from sia.backbones.pretrained_weights import architecture_of, load_backbone_weights
from sia.errors import WeightsError
from tests.sia.backbones.vits import DEPTH, patches, randomise, same, small, timm_patches, timm_reference


def test_own_weights_come_back_at_another_size_from_a_whole_model():
    own = build_backbone(SIZES["test"], (96, 64))
    randomise(own)
    own.set_normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    state = {"weights": {f"backbone.{key}": value for key, value in own.state_dict().items()}, "metrics": {"AP": 1.0}}
    state["weights"]["head.weight"] = torch.zeros(3)
    backbone = build_backbone(SIZES["test"], (96, 64)).eval()
    assert load_backbone_weights(backbone, state).startswith("SIA Pose: ")
    images = torch.randn(1, 3, 96, 64)
    same(patches(backbone, images), patches(own.eval(), images))
    torch.testing.assert_close(backbone.mean, own.mean)
    load_backbone_weights(build_backbone(SIZES["test"], (64, 160)), state)  # the grid is saved: it needn't be square


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_positions_are_interpolated_as_timm_does(name):
    model = timm_reference(name, 224)
    backbone = small(name, (56 * 4, 56 * 2))
    load_backbone_weights(backbone, model.state_dict())
    assert backbone.vit.pos_embed.shape != model.pos_embed.shape
    images = torch.randn(1, 3, 56 * 4, 56 * 2)
    same(patches(backbone, images), timm_patches(model, images))


def bad_states():
    state = dict(timm_reference("vit_tiny_patch16_224", 64, num_classes=0).state_dict())
    block = "blocks.1.mlp.fc1.weight"
    yield "1 missing (blocks.1.mlp.fc1.weight)", {key: value for key, value in state.items() if key != block}
    yield "1 unexpected (blocks.0.extra.weight)", state | {"blocks.0.extra.weight": torch.zeros(3)}
    yield "blocks.1.mlp.fc1.weight: 3x3, not 768x192", state | {block: torch.zeros(3, 3)}
    yield "pos_embed holds 12 positions", state | {"pos_embed": torch.zeros(1, 12, 192)}
    yield "1 missing (pos_embed)", {key: value for key, value in state.items() if key != "pos_embed"}
    yield "no backbone is recognised", {"layer1.0.conv1.weight": torch.zeros(3)}
    yield "no backbone is recognised", {}


@pytest.mark.parametrize(("message", "state"), list(bad_states()))
def test_weights_that_dont_fit_name_the_keys_and_change_nothing(message, state):
    backbone = small("vit_tiny_patch16_224")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_backbone_weights(backbone, state)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_a_missing_part_of_query_key_value_is_an_error(tmp_path):
    config = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=DEPTH, num_attention_heads=6, patch_size=14, image_size=70
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.attention.attention.key.weight"]
    with pytest.raises(WeightsError, match=r"blocks\.1\.attn\.qkv\.weight: 768x384, not 1152x384"):
        load_backbone_weights(small("vit_small_patch14_dinov2", (70, 70)), state)


ARCHITECTURES = [
    "vit_tiny_patch16_224", "vit_huge_patch14_224", "vit_small_patch14_dinov2", "vit_giant_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3_qkvb", "vit_base_patch16_dinov3", "vit_small_plus_patch16_dinov3",
    "vit_base_patch32_clip_quickgelu_224", "vit_base_patch16_siglip_224",
]  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture_of_a_file_is_known(name):
    with torch.device("meta"):
        shapes = build_backbone(name, (224, 224)).vit.state_dict()
    state = {key: torch.ones(()).expand(value.shape) for key, value in shapes.items()}  # no memory
    assert architecture_of(state) == name


def test_architecture_of_own_and_of_unknown_weights():
    with torch.device("meta"):
        own = build_backbone(SIZES["n16"], (256, 192))
    state = {f"backbone.{key}": torch.ones(()).expand(value.shape) for key, value in own.state_dict().items()}
    state |= {"backbone.grid": torch.tensor([16, 12])}
    assert architecture_of(state) == own.name
    state = {key: value for key, value in state.items() if ".blocks.7." not in key}  # a model that kept 7 blocks
    assert architecture_of(state) is None


def test_a_misfit_says_which_backbone_fits():
    with torch.device("meta"):
        shapes = build_backbone("vit_small_patch14_reg4_dinov2", (518, 518)).vit.state_dict()
    state = {key: torch.ones(()).expand(value.shape) for key, value in shapes.items()}
    with torch.device("meta"):
        backbone = build_backbone(SIZES["s16"], (256, 192))
    with pytest.raises(WeightsError, match=r"12 blocks, patch 14, 4 reg.*fits -BACKBONE vit_small_patch14_reg4_dinov2"):
        load_backbone_weights(backbone, state)
