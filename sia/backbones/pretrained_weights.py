"""Pretrained backbone weights of any published layout, fitted to a backbone key by key.

Every key of the backbone must be filled and every key of the file's backbone used; anything else is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from sia.backbones.build import OWN, build_backbone
from sia.backbones.checkpoint_formats import BackboneFile, odd_shapes, parse
from sia.backbones.sapiens import SAPIENS
from sia.errors import WeightsError
from sia.sia_vision import Backbone

_WIDTH_NAMES = {
    192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant", 2432: "5b", 4096: "7b",
}  # fmt: skip
# The first that fits is taken. Nothing in CLIP's weights tells QuickGELU from GELU: OpenAI and ViCLIP use the former.
_NAMES = (
    "vit_{width}_patch{patch}_224",
    "vit_{width}_patch{patch}_dinov2",
    "vit_{width}_patch{patch}_reg4_dinov2",
    "vit_{width}_patch{patch}_dinov3",
    "vit_{width}_patch{patch}_dinov3_qkvb",
    "vit_{width}_plus_patch{patch}_dinov3",
    "vit_{width}_plus_patch{patch}_dinov3_qkvb",
    "vit_{width}_patch{patch}_clip_quickgelu_224",
    "vit_{width}_patch{patch}_siglip_224",
    "deit3_{width}_patch{patch}_224",
    "eva02_{width}_patch{patch}_224",
    "vit_{width}_patch{patch}_sapiens2",
)
_CLIP_FORMATS = ("HF CLIP", "OpenAI CLIP", "ViCLIP")


class Fit(NamedTuple):
    """A file's weights in a backbone's own names, and what doesn't fit."""

    weights: dict[str, Tensor]
    misfits: dict[str, list[str]]

    @property
    def complete(self) -> bool:
        """Whether every key fits."""
        return not any(self.misfits.values())

    def problems(self) -> str:
        """The keys that don't fit: how many, and the first five of each kind."""
        return "; ".join(f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in self.misfits.items() if keys)


def load_backbone_weights(backbone: Backbone, state: Mapping[str, Any]) -> str:
    """Fills a backbone with published weights, its learned positions interpolated to the backbone's grid.

    Args:
        backbone: filled in place; its normalisation is set to the one of the weights where their format tells it.
        state: the dictionary in the file, nested under 'model', 'state_dict', 'teacher' ... or not.

    Returns:
        One line: the recognised format, what was ignored, and the normalisation.

    Raises:
        WeightsError: no known format, or not every backbone key fits; the backbone is unchanged then.
    """
    file = parse(state)
    fit = _fit(file, backbone)
    if not fit.complete:
        raise WeightsError(_misfit_message(file, fit, backbone))
    broken = [key for key, value in fit.weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"the weights have values that are not finite: {_first(broken)}")
    backbone.vit.load_state_dict(fit.weights)
    if file.colours is not None:
        backbone.set_normalisation(*file.colours)
    return _report(file, backbone)


def with_native_side(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict of a whole model; where one of ours is of before `native_side` was saved, its grid tells it."""
    grid = weights.get("backbone.grid")
    known = {"backbone.native_side": grid.max().float()} if isinstance(grid, Tensor) and grid.numel() else {}
    return {**known, **weights}


def resize_positions(weights: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """The state dict of a whole model of ours, its learned positions interpolated to a backbone's grid.

    Raises:
        WeightsError: they are positions of another grid than is named.
    """
    key, grid = "backbone.vit.pos_embed", weights.get("backbone.grid")
    weights = with_native_side(weights)
    if grid is None or torch.equal(grid.cpu(), backbone.grid.cpu()):
        return weights
    resized = {**weights, "backbone.grid": backbone.grid.clone()}
    if key in weights:
        old, new = grid.tolist(), backbone.grid.tolist()
        with odd_shapes():
            prefix = weights[key].shape[1] - old[0] * old[1]
            if min(*old, prefix + 1) < 1:
                raise ValueError(f"pos_embed of {_shape(weights[key])} for a grid of {old}")
            resized[key] = resample_abs_pos_embed(weights[key], new, old_size=old, num_prefix_tokens=prefix)
    return resized


def architecture_of(state: Mapping[str, Any]) -> str | None:
    """The name, timm's or ours, of the backbone that a file of weights fits completely; None if we know of none.

    Raises:
        WeightsError: no known format.
    """
    return _architecture(parse(state))


def _architecture(file: BackboneFile) -> str | None:
    for name in _candidates(file):
        with torch.device("meta"):
            backbone = build_backbone(name, (224, 224))
        if _fit(file, backbone).complete:
            return name
    return None


def _candidates(file: BackboneFile) -> Iterator[str]:
    with odd_shapes():
        width, patch = file.width, file.patch
    known = {**SAPIENS, **OWN} if file.format == "Sapiens" else OWN
    yield from (name for name in known if known[name]["embed_dim"] == width)
    for template in _NAMES:
        name = template.format(width=_WIDTH_NAMES.get(width, "?"), patch=patch)
        if timm.is_model(name):
            yield name


def _fit(file: BackboneFile, backbone: Backbone) -> Fit:
    target = backbone.vit.state_dict()
    with odd_shapes():
        weights = _adapt_names(dict(file.weights), target)
        if "pos_embed" in weights and "pos_embed" in target:
            weights = _adapt_positions(weights, file.grid, backbone)
    missing, unexpected = ([key for key in a if key not in b] for a, b in ((target, weights), (weights, target)))
    wrong = [key for key in weights if key in target and weights[key].shape != target[key].shape]
    misshapen = [f"{key}: {_shape(weights[key])}, not {_shape(target[key])}" for key in wrong]
    return Fit(weights, {"missing": missing, "unexpected": unexpected, "of another shape": misshapen})


def _adapt_names(weights: dict[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and biases of timm's Eva class, where the backbone is one."""
    if "blocks.0.gamma_1" in target:
        weights = {re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key): value for key, value in weights.items()}
    for key in [key for key in weights if key.endswith(".attn.qkv.bias") and key not in target]:
        stem = key.removesuffix("qkv.bias")
        query, bias, value = weights[key].chunk(3)
        if stem + "q_bias" in target and not bias.any():  # Eva's keys have no bias
            weights |= {stem + "q_bias": query, stem + "v_bias": value}
            del weights[key]
        elif not weights[key].any():  # a bias of zeros is none
            del weights[key]
    return weights


def _adapt_positions(weights: dict[str, Tensor], grid: tuple[int, int] | None, backbone: Backbone) -> dict[str, Tensor]:
    """Positions for the backbone's prefix tokens and grid.

    A prefix token's own position is one vector added to it: it can move into the token, and zero can take its place.
    """
    positions = weights["pos_embed"]
    tokens = [key for key in ("cls_token", "dist_token", "reg_token") if key in weights]
    prefix = torch.cat([weights[key] for key in tokens], dim=1) if tokens else positions[:, :0]
    count, grid = _split_positions(positions.shape[1], prefix.shape[1], grid)
    wanted = 0 if backbone.vit.no_embed_class else backbone.prefix
    if count != wanted and positions.shape[-1] == prefix.shape[-1]:
        moved = prefix + torch.nn.functional.pad(positions[:, :count], (0, 0, 0, prefix.shape[1] - count))
        weights |= dict(zip(tokens, torch.split(moved, [weights[key].shape[1] for key in tokens], dim=1), strict=True))
        positions = torch.nn.functional.pad(positions[:, count:], (0, 0, wanted, 0))
    new_grid = backbone.vit.patch_embed.grid_size
    if tuple(new_grid) != grid:
        positions = resample_abs_pos_embed(positions, new_grid, old_size=grid, num_prefix_tokens=wanted)
    return weights | {"pos_embed": positions}


def _split_positions(length: int, prefix: int, grid: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """How many of the positions belong to prefix tokens, and the grid of the others."""
    if grid is not None:
        return length - grid[0] * grid[1], grid
    for count in (1, 0, prefix):
        side = math.isqrt(length - count)
        if count <= prefix and side * side == length - count:
            return count, (side, side)
    raise WeightsError(f"pos_embed holds {length} positions: no square grid, with or without {prefix} prefix tokens")


def _describe(file: BackboneFile) -> str:
    blocks = {match[1] for key in file.weights if (match := re.match(r"blocks\.(\d+)\.", key))}
    registers = file.weights["reg_token"].shape[1] if "reg_token" in file.weights else 0
    patch = "a convolution stem" if "patch_embed.to8.0.0.weight" in file.weights else f"patch {file.patch}"
    return f"{file.format}: a ViT of width {file.width}, {len(blocks)} blocks, {patch}, {registers} registers"


def _misfit_message(file: BackboneFile, fit: Fit, backbone: Backbone) -> str:
    name = _architecture(file)
    advice = f"; it fits -BACKBONE {name}" if name and name != backbone.name else ""
    return f"the weights ({_describe(file)}) don't fit the backbone {backbone.name}: {fit.problems()}{advice}"


def _report(file: BackboneFile, backbone: Backbone) -> str:
    report = _describe(file)
    if file.ignored:
        report += f"; {len(file.ignored)} keys that are not the backbone's ignored ({_first(file.ignored)})"
    mean = ", ".join(f"{value:.3f}" for value in backbone.mean.flatten().tolist())
    report += f"; colours normalised with mean {mean}" + ("" if file.colours else f" (as {backbone.name} has it)")
    if file.format in _CLIP_FORMATS and "quickgelu" not in backbone.name:
        report += "; CLIP of OpenAI and ViCLIP need a backbone with QuickGELU (vit_..._clip_quickgelu_...)"
    return report


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (" ..." if len(keys) > 5 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape)
