"""Sapiens (Khirodkar et al., ECCV 2024): the authors' state dicts (.pth) for COCO's keypoints, and TorchScript."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from sia.backbones.build import build_backbone
from sia.backbones.checkpoint_formats import parse
from sia.backbones.sapiens import SAPIENS
from sia.errors import WeightsError
from sia.io.input_file import broken_weights, check_weights_file
from sia.runtimes.device import choose_device
from stages.ensemble.experts.crops import CropStyle
from stages.ensemble.experts.expert import coco_joints
from stages.ensemble.experts.heatmap import HeatmapPartner
from stages.ensemble.experts.published import filled, read_weights, shape_of

SIZE = (1024, 768)
_SCRIPT_COLOURS = ((123.5, 116.5, 103.5), (58.5, 57.0, 57.5))
"""What the authors' demo of the TorchScript files subtracts and divides by."""


def load_sapiens(path: Path, device: str) -> HeatmapPartner:
    """Opens a .pth of weights or a TorchScript file, by its content.

    Raises:
        WeightsError: the file is missing, broken, unsafe, or doesn't fit; the message names keys and shapes.
        ConfigError: the device can't be used.
    """
    chosen = choose_device(device).torch
    check_weights_file(path)
    return _scripted(path, chosen) if _is_script(path) else _from_weights(path, chosen)


class Sapiens(nn.Module):
    """Crops (B, 3, 1024, 768), normalised -> heatmaps (B, K, 256, 192): a ViT and a deconvolution head.

    Args:
        name: a key of `SAPIENS`.
        deconvolutions: channels after each; each doubles the resolution.
        convolutions: channels after each 1x1 convolution.
        joints: K.
    """

    def __init__(self, name: str, deconvolutions: Sequence[int], convolutions: Sequence[int], joints: int) -> None:
        super().__init__()
        self.backbone = build_backbone(name, SIZE).vit
        self.rows = SIZE[0] // SAPIENS[name]["patch_size"]
        ups = pairwise([SAPIENS[name]["embed_dim"], *deconvolutions])
        mixes = pairwise([deconvolutions[-1], *convolutions])
        self.head = nn.ModuleDict(
            {
                "deconv_layers": _normed(nn.ConvTranspose2d(a, b, 4, 2, padding=1, bias=False) for a, b in ups),
                "conv_layers": _normed(nn.Conv2d(a, b, 1) for a, b in mixes),
                "final_layer": nn.Conv2d(convolutions[-1], joints, 1),
            }
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Draws a heatmap a keypoint."""
        features: Tensor = rearrange(self.backbone(crops), "b (y x) d -> b d y x", y=self.rows)
        for layer in self.head.values():
            features = layer(features)
        return features


def _normed(layers: Iterable[nn.Conv2d | nn.ConvTranspose2d]) -> nn.Sequential:
    """Each layer, its normalisation and its activation."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())))


def _from_weights(path: Path, device: torch.device) -> HeatmapPartner:
    weights = read_weights(path)
    width = shape_of(weights, "backbone.patch_embed.projection.weight", 4, path)[0]
    shape_of(weights, "backbone.layers.0.ln1.weight", 1, path)  # what `parse` knows the format by, with that above
    names = {shape["embed_dim"]: name for name, shape in SAPIENS.items()}
    if width not in names:
        raise WeightsError(f"{path}: a Sapiens has the width {', '.join(map(str, names))}, but this one has {width}.")
    deconvolutions = [shape_of(weights, f"head.deconv_layers.{i}.weight", 4, path)[1] for i in (0, 3)]
    convolutions = [shape_of(weights, f"head.conv_layers.{i}.weight", 4, path)[0] for i in (0, 3)]
    joints = shape_of(weights, "head.final_layer.weight", 4, path)[0]
    vit = {f"backbone.{key}": tensor for key, tensor in parse(weights).weights.items()}
    weights = {**vit, **{key: tensor for key, tensor in weights.items() if not key.startswith("backbone.")}}
    model = filled(
        lambda: Sapiens(names[width], deconvolutions, convolutions, joints), weights, path,
        "It must be a .pth of Sapiens for pose, 1024x768.",
    )  # fmt: skip
    model = model.to(device).eval().requires_grad_(False)
    return HeatmapPartner(model, CropStyle(SIZE, True), coco_joints(joints, path), device, path)


def _is_script(path: Path) -> bool:
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise broken_weights(path) from error


def _scripted(path: Path, device: torch.device) -> HeatmapPartner:
    """A TorchScript file is a program, if only one of tensor operations: take it from its authors."""
    try:
        with warnings.catch_warnings():  # torch would rather have others' models exported anew
            warnings.simplefilter("ignore")
            model: Any = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} is broken or no TorchScript file. Copy or download it again.") from error
    with torch.inference_mode():
        try:
            shape = tuple(model(torch.zeros(1, 3, *SIZE, device=device)).shape)
        except (RuntimeError, AttributeError) as error:
            raise WeightsError(f"{path} takes no crops of (1, 3, 1024, 768): it is no Sapiens for pose.") from error
    if len(shape) != 4 or shape[2:] != (SIZE[0] // 4, SIZE[1] // 4):
        raise WeightsError(f"{path} must give heatmaps of (1, keypoints, 256, 192), but gives {shape}.")
    return HeatmapPartner(model, CropStyle(SIZE, True, _SCRIPT_COLOURS), coco_joints(shape[1], path), device, path)
