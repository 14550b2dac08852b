"""Small ViTs of true widths, ours and timm's, and how they are compared."""

from __future__ import annotations

import functools
import re
from unittest import mock

import timm
import torch
from torch import nn

from sia.backbones.build import build_backbone
from sia.sia_vision import Backbone

DEPTH = 2


def small(name: str, image_size: tuple[int, int] = (64, 64)) -> Backbone:
    """A ViT of its true width with two blocks, in evaluation."""
    with mock.patch("timm.create_model", functools.partial(timm.create_model, depth=DEPTH)):
        backbone = build_backbone(name, image_size)
    return backbone.eval()


def randomise(model: nn.Module) -> None:
    """Weights that make every part matter: layer scales of 1e-5 and zero biases would hide mistakes."""
    torch.manual_seed(0)
    for key, value in model.named_parameters():
        offset = 0.5 if re.search(r"lambda1|gamma|(norm\w*|ln_\w+)\.weight", key) else 0.0
        nn.init.normal_(value, offset, 0.05)


def patches(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return backbone(images).tokens[:, backbone.prefix :]


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1  # not equal because nothing happens
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def timm_reference(name: str, image_size: int, **options) -> nn.Module:
    model = timm.create_model(name, depth=DEPTH, img_size=image_size, dynamic_img_size=True, **options).eval()
    randomise(model)
    return model


def timm_patches(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.forward_features(images)[:, model.num_prefix_tokens :]
