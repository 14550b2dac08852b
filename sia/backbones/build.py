"""Builds backbones by size or by name: the project's own small ones, Sapiens, and any plain ViT of timm."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from sia.backbones.sapiens import SAPIENS, ShiftedPatchEmbed
from sia.errors import ConfigError
from sia.sia_vision import Backbone, ConvStem, stride_of

OWN: dict[str, dict[str, int]] = {
    "sia_vit_pico_patch32": {"patch_size": 32, "embed_dim": 96, "depth": 6, "num_heads": 3},
    "sia_vit_nano_patch16": {"patch_size": 16, "embed_dim": 128, "depth": 8, "num_heads": 4},
    "sia_vit_nano_patch32": {"patch_size": 32, "embed_dim": 128, "depth": 8, "num_heads": 4},
    "sia_vit_test_patch16": {"patch_size": 16, "embed_dim": 48, "depth": 4, "num_heads": 3},
}
SIZES: dict[str, str] = {
    "p32": "sia_vit_pico_patch32",
    "n16": "sia_vit_nano_patch16",
    "h16": "sia_vit_nano_patch16",
    "n32": "sia_vit_nano_patch32",
    "ti16": "vit_tiny_patch16_224",
    "s16": "vit_small_patch16_224",
    "b16": "vit_base_patch16_224",
    "l14": "vit_large_patch14_dinov2",
    "test": "sia_vit_test_patch16",
}


def _grid_image(image_size: tuple[int, int], patch: int) -> tuple[int, int]:
    """The image size rounded up to whole patches: the model pads to it."""
    return -(-image_size[0] // patch) * patch, -(-image_size[1] // patch) * patch


def _build_plain(shape: dict[str, Any], image_size: tuple[int, int], **options: Any) -> VisionTransformer:
    """A randomly initialised ViT of patches alone."""
    grid_image = _grid_image(image_size, shape["patch_size"])
    return VisionTransformer(
        img_size=grid_image, num_classes=0, global_pool="", class_token=False, dynamic_img_size=True, **shape, **options
    )


def _check_plain(name: str) -> tuple[int, bool]:
    """Stride of a timm model's patches, and whether it may be built without pooling; builds it without memory."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(name):
        known = [*SIZES, *SAPIENS, *timm.list_models()]
        close = difflib.get_close_matches(architecture, known, n=4, cutoff=0.5)
        hint = f"; close names: {', '.join(close)}" if close else ""
        raise ConfigError(f"unknown backbone '{name}': give a timm ViT name or a weights file{hint}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*"))
        raise ConfigError(f"backbone '{name}': timm has no '{tag}' of {architecture}; it has {tags}") from error
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, num_classes=0)
    if not isinstance(model, VisionTransformer | Eva):
        raise ConfigError(
            f"backbone '{name}' is a {type(model).__name__}: give a plain ViT, such as vit_small_patch16_224"
        )
    return stride_of(model), not hasattr(model, "head_dist")


def _build_timm(name: str, image_size: tuple[int, int]) -> Backbone:
    stride, poolless = _check_plain(name)
    options: dict[str, Any] = {"img_size": _grid_image(image_size, stride), "dynamic_img_size": True, "num_classes": 0}
    if poolless:  # leaves out a pooling head, whose parameters would never see a gradient
        options["global_pool"] = ""
    vit: Any = timm.create_model(name, pretrained=False, **options)
    return Backbone(vit, name)


def build_backbone(name: str, image_size: tuple[int, int]) -> Backbone:
    """Builds a randomly initialised backbone.

    Args:
        name: any timm VisionTransformer or Eva, or a key of `OWN` or `SAPIENS`.
        image_size: (H, W) in pixels; learned positions are made for its grid, and interpolated for other sizes.

    Raises:
        ConfigError: an unknown name, or a timm model that is no plain ViT.
    """
    if name in OWN:
        vit = _build_plain(OWN[name], image_size, embed_layer=ConvStem, fix_init=True)
        vit.patch_embed.init_weights()
        return Backbone(vit, name)
    if name in SAPIENS:
        return Backbone(_build_plain(SAPIENS[name], image_size, embed_layer=ShiftedPatchEmbed), name)
    return _build_timm(name, image_size)
