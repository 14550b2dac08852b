"""Makes a small file of weights to pass on: half precision, without the state of the training."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.backbones.pretrained_weights import resize_positions
from sia.errors import WeightsError
from sia.io.checkpoint import KEPT, load_checkpoint, save_weights
from sia.io.weights import check_described, load_weights
from sia.registry import ModelConfig, create_model, read_description


def run(args: argparse.Namespace) -> None:
    """The whole job."""
    first, payload = args.weight_path[0], mean_of(args.weight_path)
    saved, _ = read_description(payload, first)
    size, imgsz = args.size or saved.size, args.imgsz or saved.image_size
    wanted = replace(saved, name=args.model or saved.name, size=size, image_size=imgsz)
    if wanted != saved:
        payload = as_other(payload, wanted, first)
    save_weights(args.output, pack(payload, first))
    before, after = (path.stat().st_size / 1e6 for path in (first, args.output))
    print(f"{before:.1f} MB -> {after:.1f} MB. Written: {args.output}")


def as_other(payload: Mapping[str, Any], config: ModelConfig, source: Path) -> dict[str, Any]:
    """The same weights as those of another variant, size or input size; metrics, which are of the first, are left out.

    Raises:
        ConfigError: no such variant or size.
        WeightsError: the file has not all that the variant needs, or of another shape.
    """
    model = create_model(config)
    wanted = model.state_dict()
    weights = resize_positions(payload["weights"], model.backbone)
    weights = {key: value for key, value in weights.items() if key in wanted}
    load_weights(model, weights, source, f"Only parts of it could be those of {config.name} in {config.size}.")
    return {**payload, "metrics": {}, "model_config": config.to_dict(), "weights": weights}


def mean_of(sources: Sequence[Path]) -> dict[str, Any]:
    """What one file holds; of several their mean (Wortsman et al., Model soups, ICML 2022), without metrics.

    The input size is that of the first.

    Raises:
        WeightsError: a file holds no weights, or not those of the same model and skeleton.
    """
    first, *others = (_payload(source) for source in sources)
    if not others:
        return first
    config, skeleton = read_description(first, sources[0])
    everything = [first["weights"]]
    for payload, source in zip(others, sources[1:], strict=True):
        saved, named = read_description(payload, source)
        if (replace(saved, image_size=config.image_size), named) != (config, skeleton):
            raise WeightsError(f"{source} is of another model or skeleton than {sources[0]}: they have no mean.")
        everything.append(as_other(payload, config, source)["weights"])
    weights = {
        key: torch.stack([one[key].float() for one in everything]).mean(0) if value.is_floating_point() else value
        for key, value in first["weights"].items()
    }
    return {**first, "metrics": {}, "weights": weights}


def _payload(source: Path) -> dict[str, Any]:
    payload = load_checkpoint(source)
    check_described(read_description(payload, source)[0], payload["weights"], source)
    return payload


def pack(payload: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A checkpoint as what inference needs.

    Matrices and kernels are rounded to float16; vectors, which are few, stay as they are.

    Raises:
        WeightsError: weights that are no numbers or too large for float16.
    """
    weights: dict[str, Tensor] = {}
    for key, value in payload["weights"].items():
        half = value.half() if value.is_floating_point() and value.ndim > 1 else value.clone()
        if not torch.isfinite(half).all():
            raise WeightsError(f"{source}: {key} has values that are no numbers, or too large. Use another checkpoint.")
        weights[key] = half
    return {**{key: payload[key] for key in KEPT if key in payload}, "weights": weights}
