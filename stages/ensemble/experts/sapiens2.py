"""Sapiens2 with 308 keypoints: the authors' sapiens2_SIZE_pose.safetensors, and folders of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sia.errors import WeightsError
from sia.io.optional import need
from sia.runtimes.device import choose_device
from stages.ensemble.experts.crops import CropStyle
from stages.ensemble.experts.expert import coco_joints
from stages.ensemble.experts.heatmap import HeatmapPartner
from stages.ensemble.experts.published import depth_of, fill, load_folder, read_weights, shape_of

SIZE = (1024, 768)
_DERIVED = "rope_embed.periods"
"""Kept in some files, but computed."""


def load_sapiens2(path: Path, device: str) -> HeatmapPartner:
    """Opens a .safetensors file, or a folder with config.json and model.safetensors.

    Raises:
        WeightsError: a file is missing, broken, or doesn't fit; the message names keys and shapes.
        ConfigError: the device can't be used, or transformers is too old.
    """
    package = need("transformers", "Sapiens2")
    if not hasattr(package, "Sapiens2ForPoseEstimation"):
        raise WeightsError(f"transformers {package.__version__} doesn't know Sapiens2. pip install -U transformers.")
    chosen = choose_device(device).torch
    if path.is_dir():
        model = load_folder(path, package.Sapiens2Config, package.Sapiens2ForPoseEstimation)
    else:
        weights = {key: value for key, value in read_weights(path).items() if not key.endswith(_DERIVED)}
        config = package.Sapiens2Config(**sizes_of(weights, path))
        model = fill(package.Sapiens2ForPoseEstimation, config, weights, path)
    model = model.to(chosen).eval().requires_grad_(False)

    def network(crops: Tensor) -> Tensor:
        heatmaps: Tensor = model(crops).heatmaps
        return heatmaps

    size = model.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    joints = coco_joints(int(model.config.num_labels), path)
    return HeatmapPartner(network, CropStyle((int(height), int(width)), True), joints, chosen, path)


def sizes_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The configuration that follows from the shapes; middle layers may have fewer heads for keys and values.

    Raises:
        WeightsError: a weight that tells a size is missing.
    """
    width, _, patch, _ = shape_of(weights, "backbone.patch_embed.projection.weight", 4, path)
    head = shape_of(weights, "backbone.blocks.0.attn.q_norm.weight", 1, path)[0]
    layers = depth_of(weights, "backbone.blocks")
    keys = [shape_of(weights, f"backbone.blocks.{i}.attn.wk.weight", 2, path)[0] for i in range(layers)]
    deconvs = [shape_of(weights, f"decode_head.deconv_layers.{i}.weight", 4, path)[1] for i in (0, 3)]
    convs = [shape_of(weights, f"decode_head.conv_layers.{i}.weight", 4, path)[0] for i in (0, 3, 6)]
    return {
        "hidden_size": width,
        "patch_size": patch,
        "image_size": list(SIZE),
        "intermediate_size": shape_of(weights, "backbone.blocks.0.ffn.w3.weight", 2, path)[1],
        "num_hidden_layers": layers,
        "num_attention_heads": width // head,
        "num_key_value_heads_per_layer": [rows // head for rows in keys],
        "num_register_tokens": shape_of(weights, "backbone.storage_tokens", 3, path)[1],
        "key_bias": "backbone.blocks.0.attn.wk.bias" in weights,
        "num_labels": shape_of(weights, "decode_head.conv_pose.weight", 4, path)[0],
        "head_config": {"upsample_out_channels": deconvs, "conv_out_channels": convs},
    }
