"""The weights of a checkpoint into a model: every one or none."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sia.backbones.build import OWN, SIZES
from sia.backbones.pretrained_weights import with_native_side
from sia.errors import ConfigError, WeightsError, first_line
from sia.model import PoseModel
from sia.registry import OURS, ModelConfig, create_model


def check_described(config: ModelConfig, weights: object, source: object) -> None:
    """Whether the weights of a file are those of the model that it describes; nothing of their size is allocated.

    Raises:
        WeightsError: they are not, or there is no such model.
    """
    try:
        with torch.device("meta"):
            model = create_model(config)
    except (ConfigError, RuntimeError, ValueError, TypeError, AssertionError) as error:  # the latter are timm's
        raise WeightsError(f"{source} describes a model that can't be built: {first_line(error)}. {OURS}") from error
    check_weights(model, weights, source)


def build_described(config: ModelConfig, weights: object, source: object) -> PoseModel:
    """The model that a file describes, with its weights. Errors are those of `check_described`."""
    foreign = config.backbone is not None or bool(config.head_config.roi_trunk)
    if foreign or SIZES[config.size] not in OWN:  # our own networks are small: to build one is the check
        check_described(config, weights, source)
    model = create_model(config)
    load_weights(model, weights, source)
    return model


def check_weights(model: nn.Module, weights: object, source: object, hint: str = "") -> dict[str, Any]:
    """Whether a state dict fits a model, which may be on the meta device.

    Args:
        model: where they are to go.
        weights: from a checkpoint.
        source: its path, for the message.
        hint: what to do where they don't fit.

    Returns:
        The state dict, complete.

    Raises:
        WeightsError: these are no weights, keys are missing, unknown, or of another shape, or values are not finite.
    """
    if not isinstance(weights, Mapping):
        raise WeightsError(f"{source} holds no weights. {OURS}")
    expected = model.state_dict()
    weights = with_native_side(weights)
    keys = {key for key in weights if isinstance(key, str)}
    found = {key: getattr(weights[key], "shape", None) for key in sorted(expected.keys() & keys)}
    problems = {
        "missing": sorted(expected.keys() - keys),
        "not in the model": [*sorted(keys - expected.keys()), *(repr(key) for key in weights if key not in keys)],
        "wrong shape": [
            f"{key} {'without shape' if shape is None else tuple(shape)} instead of {tuple(expected[key].shape)}"
            for key, shape in found.items()
            if shape != expected[key].shape
        ],
    }
    if not any(problems.values()):
        problems["not finite"] = [key for key, value in weights.items() if not torch.isfinite(value).all()]
    if any(problems.values()):
        text = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise WeightsError(f"The weights in {source} don't fit this model. {text}. {hint}".rstrip())
    return weights


def load_weights(model: nn.Module, weights: object, source: object, hint: str = "") -> None:
    """Loads a state dict: every weight or none. Arguments and errors are those of `check_weights`."""
    model.load_state_dict(check_weights(model, weights, source, hint))


def fit_parts(weights: Mapping[str, Any], model: nn.Module, *parts: str) -> dict[str, Any]:
    """A state dict for a model that has more or less of some parts than the weights.

    What only the model has of them stays as it is, what only the weights have is left out; all else has to fit as ever.

    Args:
        weights: a state dict.
        model: where to.
        parts: how the keys begin, such as `ACROSS`.
    """
    own = {key: value for key, value in model.state_dict().items() if key.startswith(parts)}
    return {**own, **{key: value for key, value in weights.items() if key in own or not key.startswith(parts)}}


def shared_weights(model: nn.Module, weights: object) -> object:
    """What a model can take over from one of another variant, or of other keypoints; the rest of it stays as it is.

    The backbone has to be the same, so that one of another size, or of which blocks are missing, is refused by
    `load_weights`. Of everything else a part is taken over whole, where each of its tensors fits, or not at all.

    Args:
        model: where to.
        weights: a state dict, or whatever else the file holds.
    """
    if not isinstance(weights, Mapping):
        return weights
    own = model.state_dict()
    fits = {key: getattr(weights.get(key), "shape", None) == value.shape for key, value in own.items()}
    new = {_part(key) for key, fit in fits.items() if not fit} | {_part(key) for key in OF_THE_DATA}
    kept = {key: value for key, value in own.items() if _part(key) in new and not key.startswith(BLOCKS)}
    taken = {key: value for key, value in weights.items() if key in own and key not in kept}
    return {**kept, **taken}


BLOCKS = "backbone.vit.blocks."
ROI_HEAD = "roi_head."
ACROSS = "roi_head.body.across."
"""Units that see across a crop: the larger it is, the more there are."""
REFINERS = "roi_head.refiner.", "refiner."
"""The refiner of `sia_pose`, and that of its older weights."""
CERTAINTY = "certainty."
"""Of the certainty head, which older weights don't have."""
OF_THE_DATA = ("sigmas", "head.mean_pose")
"""Buffers that are made from the annotations, not learned."""


def _part(key: str) -> str:
    """The part of a model that a tensor belongs to: layers of one list or sequence are one part."""
    return ".".join(itertools.takewhile(lambda name: not name.isdigit(), key.split(".")[:-1]))


def _some(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
