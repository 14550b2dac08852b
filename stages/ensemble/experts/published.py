"""State dicts as their authors published them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sia.errors import WeightsError
from sia.io.checkpoint import read_state_dict
from sia.io.weights import check_weights

Model = TypeVar("Model", bound=nn.Module)


class Unneeded:
    """Stands for an object of a training framework beside the weights; it takes anything and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_NAMES = (
    "mmengine.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.logging.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a published file, unwrapped.

    Files by MMPose keep objects of MMEngine and NumPy beside the weights. They are never built: weights_only stays on,
    and `Unneeded` takes their places.

    Raises:
        WeightsError: the file is missing, broken, unsafe, or holds something else.
    """
    with torch.serialization.safe_globals([(Unneeded, name) for name in _NAMES]):
        content: Mapping[str, Any] = read_state_dict(path)
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        raise WeightsError(f"{path} has a 'state_dict' that is no dictionary of weights.")
    others = [str(key) for key, value in inner.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if others:
        raise WeightsError(f"{path} holds something else than weights: {', '.join(others[:4])}.")
    return dict(inner)


def shape_of(weights: Mapping[str, Tensor], key: str, dimensions: int, source: object) -> tuple[int, ...]:
    """The shape of one weight, from which the size of a model follows.

    Raises:
        WeightsError: it is missing or has another number of dimensions.
    """
    shape = tuple(weights[key].shape) if key in weights else None
    if shape is None or len(shape) != dimensions:
        raise WeightsError(
            f"{source} needs the weight {key} with {dimensions} dimensions, but has {shape or 'none of that name'}. "
            f"Its first keys are {', '.join(sorted(weights)[:3])}."
        )
    return shape


def filled(make: Callable[[], Model], weights: Mapping[str, Tensor], path: Path, hint: str) -> Model:
    """A model with these weights on the CPU, which is allocated after they are known to fit.

    Raises:
        WeightsError: they don't; see `check_weights`.
    """
    with torch.device("meta"):
        model = make()
    check_weights(model, weights, path, hint)
    model = model.to_empty(device="cpu")
    model.load_state_dict(weights)
    return model


def depth_of(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers ``prefix.N.`` there are; gaps between their numbers show when the weights are loaded."""
    numbers = (key[len(prefix) + 1 :].split(".", 1)[0] for key in weights if key.startswith(f"{prefix}."))
    return len({number for number in numbers if number.isdecimal()})
