"""Sapiens: the authors' state dicts (.pth) for COCO's keypoints, and their TorchScript files."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.errors import WeightsError
from sia.io.input_file import broken_weights, check_weights_file
from sia.io.weights import check_weights
from sia.runtimes.device import choose_device
from stages.ensemble.experts.crops import CropStyle
from stages.ensemble.experts.expert import coco_joints
from stages.ensemble.experts.heatmap import HeatmapPartner
from stages.ensemble.experts.published import depth_of, read_weights, shape_of
from stages.ensemble.experts.sapiens_network import Sapiens, SapiensSizes

SIZE = (1024, 768)
_HEADS = {1024: 16, 1280: 16, 1536: 24, 1920: 32}
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


def _from_weights(path: Path, device: torch.device) -> HeatmapPartner:
    weights = read_weights(path)
    sizes = sizes_of(weights, path)
    with torch.device("meta"):
        model = Sapiens(sizes)
    check_weights(model, weights, path, "It must be a .pth of Sapiens for pose, 1024x768.")
    model = model.to_empty(device="cpu")
    model.load_state_dict(weights)
    model = model.to(device).eval().requires_grad_(False)
    return HeatmapPartner(model, CropStyle(SIZE, True), coco_joints(sizes.joints, path), device, path)


def sizes_of(weights: Mapping[str, Tensor], path: Path) -> SapiensSizes:
    """What follows from the shapes.

    Raises:
        WeightsError: a weight that tells a size is missing, or no Sapiens has this width.
    """
    width = shape_of(weights, "backbone.patch_embed.projection.weight", 4, path)[0]
    if width not in _HEADS:
        raise WeightsError(f"{path}: a Sapiens has the width {', '.join(map(str, _HEADS))}, but this one has {width}.")
    return SapiensSizes(
        width=width,
        depth=depth_of(weights, "backbone.layers"),
        heads=_HEADS[width],
        hidden=shape_of(weights, "backbone.layers.0.ffn.layers.0.0.weight", 2, path)[0],
        grid=(SIZE[0] // 16, SIZE[1] // 16),
        deconvolutions=tuple(shape_of(weights, f"head.deconv_layers.{i}.weight", 4, path)[1] for i in (0, 3)),
        convolutions=tuple(shape_of(weights, f"head.conv_layers.{i}.weight", 4, path)[0] for i in (0, 3)),
        joints=shape_of(weights, "head.final_layer.weight", 4, path)[0],
    )


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
