"""ViTPose and ViTPose++ (Xu et al., NeurIPS 2022): folders of Hugging Face, and the authors' .pth files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.errors import WeightsError
from sia.runtimes.device import choose_device
from stages.ensemble.experts.crops import CropStyle
from stages.ensemble.experts.expert import coco_joints
from stages.ensemble.experts.heatmap import HeatmapPartner
from stages.ensemble.experts.published import depth_of, filled, load_folder, read_weights, shape_of

SIZE = (256, 192)
_HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}

# Names of MMPose 1 -> those of MMPose 0, in which the authors published.
_OLDER = (
    (r"^head\.", "keypoint_head."),
    (r"^backbone\.layers\.(\d+)\.ln([12])\.", r"backbone.blocks.\1.norm\2."),
    (r"^backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.", r"backbone.blocks.\1.mlp.fc1."),
    (r"^backbone\.layers\.(\d+)\.ffn\.layers\.1\.", r"backbone.blocks.\1.mlp.fc2."),
    (r"^backbone\.layers\.", "backbone.blocks."),
    (r"^backbone\.ln1\.", "backbone.last_norm."),
    (r"^backbone\.patch_embed\.projection\.", "backbone.patch_embed.proj."),
)
# Names of MMPose 0 -> those of transformers.
_NEWER = (
    (r"^backbone\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^backbone\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^backbone\.last_norm\.", "backbone.layernorm."),
    (r"^backbone\.blocks\.", "backbone.encoder.layer."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"^keypoint_head\.final_layer\.", "head.conv."),
    (r"^keypoint_head\.deconv_layers\.0\.", "head.deconv1."),
    (r"^keypoint_head\.deconv_layers\.1\.", "head.batchnorm1."),
    (r"^keypoint_head\.deconv_layers\.3\.", "head.deconv2."),
    (r"^keypoint_head\.deconv_layers\.4\.", "head.batchnorm2."),
)


def load_vitpose(path: Path, device: str) -> HeatmapPartner:
    """Opens a folder with config.json and model.safetensors, or a .pth file with the names of MMPose 0 or 1.

    Raises:
        WeightsError: a file is missing, broken, or doesn't fit; the message names keys and shapes.
        ConfigError: the device can't be used.
    """
    from transformers import VitPoseConfig, VitPoseForPoseEstimation

    chosen = choose_device(device).torch
    is_folder = path.is_dir()
    model = load_folder(path, VitPoseConfig, VitPoseForPoseEstimation) if is_folder else _from_file(path)
    model = model.to(chosen).eval().requires_grad_(False)
    experts = model.config.backbone_config.num_experts > 1

    def network(crops: Tensor) -> Tensor:
        index = torch.zeros(len(crops), dtype=torch.long, device=crops.device) if experts else None  # 0 is COCO
        heatmaps: Tensor = model(crops, dataset_index=index).heatmaps
        return heatmaps

    height, width = model.config.backbone_config.image_size
    joints = coco_joints(int(model.head.conv.out_channels), path)
    return HeatmapPartner(network, CropStyle((height, width), True), joints, chosen, path)


def _from_file(path: Path) -> Any:
    from transformers import VitPoseForPoseEstimation

    weights = {_renamed(key, _OLDER): tensor for key, tensor in read_weights(path).items()}
    # ViTPose++ has a head for each of its data sets; the first one, for COCO, has the plain name.
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith("associate_keypoint_heads.")}
    config = _config(weights, path)
    hint = "It must be a .pth of ViTPose for 256x192 crops."
    return filled(lambda: VitPoseForPoseEstimation(config), _converted(weights), path, hint)


def _config(weights: Mapping[str, Tensor], path: Path) -> Any:
    """The configuration that follows from the shapes."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig

    width = shape_of(weights, "backbone.patch_embed.proj.weight", 4, path)[0]
    hidden, _ = shape_of(weights, "backbone.blocks.0.mlp.fc1.weight", 2, path)
    shared, _ = shape_of(weights, "backbone.blocks.0.mlp.fc2.weight", 2, path)
    joints = shape_of(weights, "keypoint_head.final_layer.weight", 4, path)[0]
    if width not in _HEADS:
        raise WeightsError(f"{path}: a ViTPose has the width {', '.join(map(str, _HEADS))}, but this one has {width}.")
    depth = depth_of(weights, "backbone.blocks")
    backbone: dict[str, Any] = {
        "image_size": list(SIZE),
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": _HEADS[width],
        "mlp_ratio": hidden // width,
        "num_experts": max(1, depth_of(weights, "backbone.blocks.0.mlp.experts")),
        "part_features": width - shared,
        "layer_norm_eps": 1e-6,
        "out_indices": [depth],
    }
    simple = "keypoint_head.deconv_layers.0.weight" not in weights
    head: dict[str, Any] = {"use_simple_decoder": simple, "num_labels": joints}
    return VitPoseConfig(backbone_config=VitPoseBackboneConfig(**backbone), **head)


def _converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In the names of transformers, with query, key and value apart."""
    converted: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        name = _renamed(key, _NEWER)
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=False):
                converted[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = piece
        else:
            converted[name] = tensor
    places = converted.get("backbone.embeddings.position_embeddings")
    patches = SIZE[0] // 16 * (SIZE[1] // 16)
    if places is not None and places.dim() == 3 and places.shape[1] == patches:  # MMPose 1 has added the first already
        converted["backbone.embeddings.position_embeddings"] = torch.cat([torch.zeros_like(places[:, :1]), places], 1)
    return converted


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
