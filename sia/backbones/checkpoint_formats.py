"""The layouts in which ViT weights are published, each renamed to the one of timm's VisionTransformer.

Recognised by the key of the patch projection together with a key of the first block; what comes before both is the
prefix of the vision tower, and keys outside it belong to something else (a text tower, a head, a decoder).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor

from sia.backbones.sapiens import sapiens_grid
from sia.errors import WeightsError, first_line

Renames = tuple[tuple[str, str], ...]
Colours = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, colours in [0, 1]
IMAGENET: Colours = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
CLIP: Colours = (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)


class BackboneFile(NamedTuple):
    """A recognised file of backbone weights."""

    format: str
    weights: dict[str, Tensor]  # in the names of timm's VisionTransformer
    ignored: list[str]  # keys that are known not to be the backbone's, or lie outside its prefix
    colours: Colours | None  # the normalisation that the weights were trained on, where the format tells
    grid: tuple[int, int] | None = None  # (h, w) of the learned positions, where the file tells

    @property
    def width(self) -> int:
        """Of a token."""
        return int(self.weights["blocks.0.norm1.weight"].shape[0])

    @property
    def patch(self) -> int:
        """Pixels of a side of one."""
        return int(self.weights["patch_embed.proj.weight"].shape[-1])


class Layout(NamedTuple):
    """How one publisher names the parts."""

    name: str
    anchor: str  # the patch projection
    marker: str  # a key of the first block
    renames: Renames
    colours: Colours | None


_HF: Renames = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.(position_embeddings|position_embedding\.weight)$", "pos_embed"),
    (r"^embeddings\.patch_embeddings?(\.projection)?\.", "patch_embed.proj."),
    (r"^(post_)?layernorm\.", "norm."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^(encoder\.)?layers?\.", "blocks."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
    (r"\.(self_attn|attention)\.([qkv])_proj\.", r".attn.\2."),
    (r"\.(attention\.output\.dense|self_attn\.out_proj|attention\.o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.(intermediate\.dense|mlp\.weights_in|mlp\.up_proj)\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.(output\.dense|mlp\.weights_out|mlp\.down_proj)\.", r"\1.mlp.fc2."),
)
# A gated MLP calls its gate fc1_g and its value fc1_x in timm; an ungated one has fc1 alone.
_GATED: Renames = ((r"\.mlp\.(gate_proj|w1)\.", ".mlp.fc1_g."), (r"\.mlp\.(up_proj|w2)\.", ".mlp.fc1_x."))
_OPENAI: Renames = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_TIMM: Renames = (
    (r"^(register_tokens|storage_tokens)$", "reg_token"),
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # DINOv2's chunks of blocks
    (r"\.gamma_([12])$", r".ls\1.gamma"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_MMPRETRAIN: Renames = (
    (r"^storage_tokens$", "reg_token"),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^layers\.", "blocks."),
    (r"^ln1\.", "norm."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.w([qkv])\.", r".attn.\1_proj."),
    (r"\.attn\.gamma\.weight$", ".gamma_1"),
    (r"\.ffn\.(layers\.0\.0|w12)\.", ".mlp.fc1."),
    (r"\.ffn\.(layers\.1|w3)\.", ".mlp.fc2."),
)
_HF_PATCHES = "embeddings.patch_embeddings.projection.weight"
_MM_PATCHES = "patch_embed.projection.weight"
_LAYOUTS = (
    Layout("timm", "patch_embed.proj.weight", "blocks.0.norm1.weight", _TIMM, None),
    Layout("timm", "patch_embed.proj.weight", "blocks.0.0.norm1.weight", _TIMM, None),
    Layout("HF DINOv2", _HF_PATCHES, "encoder.layer.0.layer_scale1.lambda1", _HF, IMAGENET),
    Layout("HF DINOv3", "embeddings.patch_embeddings.weight", "layer.0.attention.q_proj.weight", _HF, IMAGENET),
    Layout("HF CLIP", "embeddings.patch_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight", _HF, CLIP),
    Layout("HF ViT", _HF_PATCHES, "encoder.layer.0.layernorm_before.weight", _HF, None),
    Layout("Sapiens", _MM_PATCHES, "layers.0.ln1.weight", _MMPRETRAIN, IMAGENET),
    Layout("Sapiens2", _MM_PATCHES, "blocks.0.attn.wq.weight", _MMPRETRAIN, IMAGENET),
    Layout("OpenAI CLIP", "conv1.weight", "transformer.resblocks.0.ln_1.weight", _OPENAI, CLIP),
)
_WRAPPERS = ("weights", "model_ema", "model", "state_dict", "teacher", "student", "target_encoder", "encoder", "module")
_NOT_BACKBONE = re.compile(
    r"^((head|head_dist|fc|classifier|pooler|decoder\w*|dino_head|ibot_head|lm_head|attn_pool|projector|pre_logits"
    r"|local_cls_norm|visual_projection|rope_embed|rope_embeddings)\.|embeddings\.mask_token$|mask_token$|proj$"
    r"|temporal_positional_embedding$|decoder_pos_embed$|(.*\.)?position_ids$|rope\.periods$)"
)


def parse(state: Mapping[str, Any]) -> BackboneFile:
    """Recognises the layout of a state dict and renames it to timm's VisionTransformer.

    Raises:
        WeightsError: no layout that we know.
    """
    tensors = _unwrap(state)
    with odd_shapes():
        return _recognise(tensors)


@contextlib.contextmanager
def odd_shapes() -> Iterator[None]:
    """Weights that have the names of a layout, but not its shapes, trip one conversion or another.

    Raises:
        WeightsError: in place of what that is.
    """
    try:
        yield
    except (RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise WeightsError(
            f"the names in these weights are those of a known backbone, but their shapes are not: {first_line(error)}"
        ) from error


def _recognise(tensors: dict[str, Tensor]) -> BackboneFile:
    for layout in _LAYOUTS:
        prefixes = [key.removesuffix(layout.anchor) for key in tensors if f".{key}".endswith(f".{layout.anchor}")]
        prefixes = [prefix for prefix in prefixes if prefix + layout.marker in tensors]
        if prefixes:  # a training checkpoint of DINO holds student and teacher: the teacher is what is published
            prefix = min(prefixes, key=lambda p: ("teacher" not in p, len(p)))
            return _special_cases(layout, tensors, prefix)
    names = ", ".join(list(tensors)[:3]) or "no tensors"
    raise WeightsError(
        f"no backbone is recognised in these weights (they begin with {names}): give a plain ViT in the layout of "
        "timm, MAE, DINO, Hugging Face's DINOv2, DINOv3, CLIP, ViT or ViT-MAE, OpenAI's CLIP, ViCLIP, Sapiens or "
        "Sapiens2"
    )


def _unwrap(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The innermost dictionary of tensors: files keep them under 'model', 'state_dict' and so on."""
    while inner := next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None):
        state = inner
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def _convert(layout: Layout, tensors: dict[str, Tensor], prefix: str) -> BackboneFile:
    weights, ignored = {}, []
    gated = any(re.search(r"\.mlp\.(gate_proj|w1)\.", key) for key in tensors)
    renames = (_GATED if gated else ()) + layout.renames
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or _NOT_BACKBONE.search(name):
            ignored.append(key)
            continue
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        weights[name] = value
    return BackboneFile(layout.name, _reshape(_merge_qkv(weights)), ignored, layout.colours)


def _special_cases(layout: Layout, tensors: dict[str, Tensor], prefix: str) -> BackboneFile:
    """Tells apart the families that share a layout."""
    file = _convert(layout, tensors, prefix)
    if layout.name == "timm":
        return _timm_family(file, tensors, prefix)
    if layout.name == "Sapiens":
        return _sapiens(file, prefix)
    if layout.name == "HF ViT" and any(key.startswith("decoder.") for key in tensors):
        return file._replace(format="HF ViT-MAE", colours=IMAGENET)
    if layout.name == "OpenAI CLIP" and tensors[prefix + "conv1.weight"].ndim == 5:
        return _viclip(file, tensors.get(prefix + "temporal_positional_embedding"))
    if layout.name == "HF CLIP" and "cls_token" not in file.weights:  # SigLIP's tower shares the names
        return file._replace(format="HF SigLIP", colours=((0.5,) * 3, (0.5,) * 3))
    return file


def _sapiens(file: BackboneFile, prefix: str) -> BackboneFile:
    """Only the pretraining has a class token, with a position; pose models are made without, as is the backbone."""
    positions = file.weights.get("pos_embed")
    if positions is None:
        return file
    if file.weights.pop("cls_token", None) is not None:
        positions = file.weights["pos_embed"] = positions[:, 1:]
        file.ignored.append(prefix + "cls_token")
    return file._replace(grid=sapiens_grid(positions.shape[1]))


def _viclip(file: BackboneFile, temporal: Tensor | None) -> BackboneFile:
    """To a single frame ViCLIP adds the mean of its positions in time, except to the class token."""
    if temporal is not None and "pos_embed" in file.weights:
        image = file.weights["pos_embed"].clone()
        image[:, 1:] += temporal.mean(dim=1, keepdim=True)
        file.weights["pos_embed"] = image
    return file._replace(format="ViCLIP", colours=IMAGENET)


def _timm_family(file: BackboneFile, tensors: dict[str, Tensor], prefix: str) -> BackboneFile:
    own = prefix.removesuffix("vit.")
    if prefix.endswith("vit.") and {own + "mean", own + "std", own + "grid"} <= tensors.keys():
        mean, std = ([float(v) for v in tensors[own + key].flatten()] for key in ("mean", "std"))
        height, width = (int(v) for v in tensors[own + "grid"])
        ignored = [key for key in file.ignored if key.removeprefix(own) not in ("mean", "std", "grid", "native_side")]
        return BackboneFile("SIA Pose", file.weights, ignored, (tuple(mean), tuple(std)), (height, width))
    positions = file.weights.get("pos_embed")  # those of MAE are fixed: that of the class token is exactly zero
    is_sine = positions is not None and "cls_token" in file.weights and not positions[0, 0].any()
    rules = {
        "MAE": is_sine or prefix + "decoder_pos_embed" in tensors,
        "DINOv3": prefix + "storage_tokens" in tensors,
        "DINOv2": prefix + "register_tokens" in tensors or prefix + "mask_token" in tensors,
        "DINO": "teacher" in prefix or any("head.last_layer" in key for key in tensors),
    }
    name = next((name for name, applies in rules.items() if applies), None)
    return file if name is None else file._replace(format=name, colours=IMAGENET)


def _merge_qkv(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value, each its own layer, into timm's one; a missing bias is a zero bias."""
    merged = dict(weights)
    for stem in [key.removesuffix("q.weight") for key in weights if key.endswith(".attn.q.weight")]:
        layers = [merged.pop(f"{stem}{part}.weight") for part in "qkv" if f"{stem}{part}.weight" in merged]
        biases = [merged.pop(f"{stem}{part}.bias", None) for part in "qkv"]
        merged[stem + "qkv.weight"] = torch.cat(layers)  # of another shape than expected, should one be missing
        if any(bias is not None for bias in biases):
            zeros = torch.zeros_like(layers[0][:, 0])
            merged[stem + "qkv.bias"] = torch.cat([zeros if bias is None else bias for bias in biases])
    return merged


def _reshape(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tokens and positions to three dimensions; a projection of video to one of images; DINOv3's masked key bias."""
    for key in ("cls_token", "reg_token", "pos_embed"):
        if key in weights:
            weights[key] = weights[key].reshape(1, -1, weights[key].shape[-1])
    patches = weights.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 5:  # an image is a video whose frames are equal: add over time
        weights["patch_embed.proj.weight"] = patches.sum(dim=2)
    for key in [key for key in weights if key.endswith(".qkv.bias_mask")]:
        del weights[key]
        query, bias, value = weights[key.removesuffix("_mask")].chunk(3)
        weights[key.removesuffix("_mask")] = torch.cat([query, torch.zeros_like(bias), value])
    if "norm.weight" in weights:
        return {key: value for key, value in weights.items() if not key.startswith("fc_norm.")}
    return {re.sub(r"^fc_norm\.", "norm.", key): value for key, value in weights.items()}
