"""The backbone: timm's ViTs run block by block give what timm gives, at any size, with and without extra tokens."""

from __future__ import annotations

import functools
from unittest import mock

import pytest
import timm
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from sia.backbones.build import SIZES, build_backbone
from sia.errors import ConfigError
from sia.modules.one_way_attention import is_plain, one_way_mask
from sia.sia_vision import Backbone, ConvStem, Features

PLAIN = [
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_base_patch16_clip_224",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3",
    "vit_small_plus_patch16_dinov3_qkvb.lvd1689m",
    "vit_small_patch16_rope_mixed_224",
    "eva02_tiny_patch14_224",
    "vit_base_patch16_siglip_gap_224",
    "vit_small_r26_s32_224",
]


def small(name: str, image_size: tuple[int, int], depth: int = 2) -> Backbone:
    """A ViT of its true width, with few blocks that do something, in evaluation."""
    torch.manual_seed(0)
    with mock.patch("timm.create_model", functools.partial(timm.create_model, depth=depth)):
        backbone = build_backbone(name, image_size)
    backbone.vit.blocks = backbone.vit.blocks[:depth]
    backbone.depth = depth
    for key, value in backbone.named_parameters():
        if "gamma" in key:  # a layer scale of 1e-5 would hide what a block does
            torch.nn.init.constant_(value, 0.5)
    return backbone.eval()


def run(backbone: Backbone, features: Features, extra=None, groups=1) -> tuple[Features, torch.Tensor | None]:
    for index in range(backbone.depth):
        features, extra = backbone.run_block(index, features, extra, groups)
    return features, extra


@pytest.mark.parametrize("name", PLAIN)
def test_blocks_give_what_timm_gives_at_a_size_that_is_not_square(name):
    backbone = small(name, (224, 224))
    images = torch.randn(2, 3, backbone.patch * 4, backbone.patch * 6)
    with torch.no_grad():
        features, extra = run(backbone, backbone.embed(images))
        expected = backbone.vit.forward_features(images)
    assert extra is None
    assert features.grid == (4, 6)
    assert features.tokens.shape == (2, backbone.prefix + 24, backbone.dim)
    torch.testing.assert_close(backbone.norm(features.tokens), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*PLAIN, SIZES["n16"], SIZES["test"]])
def test_extra_tokens_read_the_image_without_changing_it(name):
    backbone = small(name, (128, 96))
    images = torch.randn(1, 3, backbone.patch * 3, backbone.patch * 2)
    with torch.no_grad():
        start = backbone.embed(images)
        alone, _ = run(backbone, start)
        extra = torch.randn(1, 6, backbone.dim)
        features, joined = run(backbone, start, extra, 2)
        assert joined is not None and joined.shape == extra.shape
        torch.testing.assert_close(features.tokens, alone.tokens, rtol=1e-4, atol=1e-5)

        swapped = torch.cat([extra[:, 3:], extra[:, :3]], dim=1)
        _, other = run(backbone, start, swapped, 2)
        # No position: an extra token gives the same wherever it stands.
        torch.testing.assert_close(torch.cat([other[:, 3:], other[:, :3]], dim=1), joined, rtol=1e-4, atol=1e-5)

        changed = torch.cat([extra[:, :3], torch.randn(1, 3, backbone.dim)], dim=1)
        _, other = run(backbone, start, changed, 2)
        torch.testing.assert_close(other[:, :3], joined[:, :3], rtol=1e-4, atol=1e-5)
        _, moved = run(backbone, backbone.embed(images + 1), extra, 2)
        assert (moved - joined).abs().max() > 1e-3  # they do read the image
        together, _ = run(backbone, start, extra[:, :3])
        torch.testing.assert_close(together.tokens, alone.tokens, rtol=1e-4, atol=1e-5)
        _, one_group = run(backbone, start, extra)
        assert (one_group - joined).abs().max() > 1e-3  # and those of their group


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("name", [SIZES["n16"], "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_plain_blocks_give_what_the_mask_gives(name, groups, fused):
    backbone = small(name, (96, 96))
    start = backbone.embed(torch.randn(2, 3, backbone.patch * 5, backbone.patch * 3))
    extra = torch.randn(2, 6, backbone.dim)
    for block in backbone.vit.blocks:
        block.attn.fused_attn = fused
    assert all(is_plain(block) for block in backbone.vit.blocks)
    with torch.no_grad():
        features, joined = run(backbone, start, extra, groups)
        with mock.patch("sia.sia_vision.is_plain", return_value=False):
            masked, expected = run(backbone, start, extra, groups)
            kept, _ = backbone.run_block(0, start, extra, groups, update=False)
        torch.testing.assert_close(features.tokens, masked.tokens, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-5)
        still, alone = backbone.run_block(0, start, extra, groups, update=False)
        torch.testing.assert_close(alone, backbone.run_block(0, start, extra, groups)[1], rtol=1e-4, atol=1e-5)
    assert still.tokens is kept.tokens is start.tokens  # nobody needs them: they stay


@pytest.mark.parametrize("plain", [True, False])
def test_mask_doesnt_widen_the_logits(plain):
    backbone = small("vit_tiny_patch16_224", (64, 64))
    attention = backbone.vit.blocks[0].attn
    attention.fused_attn = False
    types = []
    attention.attn_drop.register_forward_hook(lambda module, given, made: types.append(made.dtype))
    features = backbone.embed(torch.rand(1, 3, 64, 64))
    with mock.patch("sia.sia_vision.is_plain", return_value=plain):
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                backbone.run_block(0, features, torch.rand(1, 6, features.tokens.shape[2]), 2)
    assert types == ([torch.float32] * 2 + [torch.bfloat16] * 2 if plain else [torch.float32, torch.bfloat16])


def test_mask_is_the_rule_written_out():
    count, groups, tokens = 5, 3, 2
    mask = one_way_mask(count, groups, tokens)
    for i in range(count + groups * tokens):
        for j in range(count + groups * tokens):
            image = j < count
            same_group = i >= count and j >= count and (i - count) // tokens == (j - count) // tokens
            assert bool(mask[i, j]) == (image or same_group), (i, j)


def test_mask_without_extra_tokens_is_all_true():
    assert one_way_mask(4, 0, 7).shape == (4, 4)
    assert one_way_mask(4, 0, 7).all()


@pytest.mark.parametrize("name", [*PLAIN, SIZES["n16"], SIZES["test"]])
def test_every_parameter_gets_a_gradient(name):
    backbone = small(name, (96, 96)).train()
    start = backbone.embed(torch.randn(2, 3, backbone.patch * 3, backbone.patch * 2))
    features, extra = run(backbone, start, torch.randn(2, 2, backbone.dim))
    (backbone.norm(features.tokens).square().sum() + backbone.norm(extra).square().sum()).backward()
    assert [key for key, value in backbone.named_parameters() if value.grad is None] == []


def test_layer_index_orders_the_parameters():
    for name in ("vit_small_patch16_dinov3", SIZES["test"], "vit_base_patch16_siglip_gap_224"):
        backbone = small(name, (96, 96), depth=3)
        layers = {key: backbone.layer_index(key) for key, _ in backbone.named_parameters()}
        assert set(layers.values()) == {0, 1, 2, 3, 4}, name
        for key, layer in layers.items():
            expected = int(key.split(".")[2]) + 1 if ".blocks." in key else 4 if key.startswith("vit.norm.") else 0
            assert layer == expected, key
        assert backbone.layer_index("norm.weight") == 4  # with or without the module's own prefix
        assert backbone.layer_index("blocks.1.norm1.weight") == 2


def test_sizes_have_their_shapes():
    expected = {
        "p32": (96, 6, 32),
        "n16": (128, 8, 16),
        "n32": (128, 8, 32),
        "ti16": (192, 12, 16),
        "s16": (384, 12, 16),
        "b16": (768, 12, 16),
    }
    expected |= {"h16": (128, 8, 16), "l14": (1024, 24, 14), "test": (48, 4, 16)}
    for size, shape in expected.items():
        with torch.device("meta"):
            backbone = build_backbone(SIZES[size], (256, 192))
        assert (backbone.dim, backbone.depth, backbone.patch) == shape
        assert backbone.name == SIZES[size]
    assert set(SIZES) == set(expected)


def test_own_vit_has_a_stride_8_map_and_a_light_stem():
    backbone = build_backbone(SIZES["n16"], (256, 256)).eval()
    images = torch.randn(1, 3, 256, 256)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        features = backbone(images)
    assert features.stem8 is not None and features.stem8.shape == (1, 64, 32, 32)
    flops = counter.get_flop_counts()
    stem = next(sum(ops.values()) for module, ops in flops.items() if module.endswith("patch_embed.to8"))
    assert 0.05 < stem / counter.get_total_flops() < 0.25
    assert build_backbone(SIZES["ti16"], (64, 64)).embed(torch.randn(1, 3, 64, 64)).stem8 is None


def test_own_vit_starts_with_features_and_gradients_of_order_one():
    torch.manual_seed(0)
    backbone = build_backbone(SIZES["n16"], (128, 128)).train()
    features = backbone(torch.randn(4, 3, 128, 128))
    assert 0.5 < features.tokens.std() < 1.5
    before = backbone.embed(torch.randn(4, 3, 128, 128)).tokens
    assert 0.1 < before.std() < 10
    features.tokens[..., 0].sum().backward()
    assert isinstance(backbone.vit.patch_embed, ConvStem)
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize(("height", "width"), [(100, 96), (96, 100)])
def test_a_size_of_part_patches_is_refused(height, width):
    backbone = small(SIZES["test"], (96, 96))
    with pytest.raises(ValueError, match="multiple of 16"):
        backbone.embed(torch.randn(1, 3, height, width))


def test_an_image_size_of_part_patches_makes_positions_for_the_padded_one():
    backbone = build_backbone("vit_small_patch14_dinov2", (100, 130))
    assert backbone.grid.tolist() == [8, 10]
    assert build_backbone(SIZES["test"], (100, 130)).grid.tolist() == [7, 9]


def test_normalisation_is_the_one_of_the_weights_and_is_saved_with_them():
    clip = small("vit_base_patch16_clip_224", (32, 32), depth=1)
    assert clip.mean.flatten().tolist() == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    own = build_backbone(SIZES["test"], (32, 32))
    own.set_normalisation((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    other = build_backbone(SIZES["test"], (32, 32))
    other.load_state_dict(own.state_dict())
    pixels = torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)
    expected = torch.tensor([0.1, 0.0, -0.025]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(other.normalise(pixels), expected)
    torch.testing.assert_close(other.normalise(pixels / 255), expected)


def test_unknown_names_are_answered_with_close_ones():
    with pytest.raises(ConfigError, match=r"vit_smal_patch16_224.*vit_small_patch16_224"):
        build_backbone("vit_smal_patch16_224", (64, 64))
    with pytest.raises(ConfigError, match=r"no 'foo' of vit_small_patch16_224; it has .*dino"):
        build_backbone("vit_small_patch16_224.foo", (64, 64))


@pytest.mark.parametrize(
    "name", ["resnet18", "swin_tiny_patch4_window7_224", "beit_base_patch16_224", "samvit_base_patch16"]
)
def test_models_that_are_no_plain_vit_are_refused(name):
    assert timm.is_model(name)
    with pytest.raises(ConfigError, match=rf"{name}.*plain ViT"):
        build_backbone(name, (64, 64))


def test_the_stem_of_large_patches_sees_the_averaged_image():
    torch.manual_seed(0)
    large, small = (ConvStem((64, 64), patch, 8).eval() for patch in (32, 16))
    small.load_state_dict(large.state_dict())
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(large(images), small(F.avg_pool2d(images, 2)), rtol=0, atol=1e-4)
