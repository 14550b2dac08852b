"""Weights and folders of models as their authors published them: every weight fits, or none is used."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from logging import CRITICAL
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sia.coco.coco_files import read_json
from sia.errors import DataError, WeightsError, first_line
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


def load_folder(folder: Path, config_class: Any, model_class: Any) -> Any:
    """A model from config.json and model.safetensors.

    Raises:
        WeightsError: a file is missing, broken, of another model, or the weights don't fit the configuration.
    """
    try:
        values = read_json(folder / "config.json", "configuration")
    except DataError as error:
        raise WeightsError(f"{folder} is no folder of a model: {error}") from None
    wanted, found = config_class.model_type, values.get("model_type") if isinstance(values, dict) else None
    if found != wanted:
        raise WeightsError(f"{folder / 'config.json'} describes a '{found}', not a '{wanted}'.")
    try:
        config = config_class.from_dict(values)
    except Exception as error:  # the package has a class of its own for each kind of bad value
        raise WeightsError(f"{folder / 'config.json'} can't be used: {first_line(error)}") from error
    path = folder / "model.safetensors"
    return fill(model_class, config, read_state_dict(path), path)


def fill(model_class: Any, config: Any, weights: Mapping[str, Tensor], source: Path) -> Any:
    """A model with these weights, in the names of its published files.

    Raises:
        WeightsError: keys are missing, unknown or of another shape.
    """
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in model_class(config).parameters())
        held = sum(tensor.numel() for tensor in weights.values())
        if size > 2 * held:  # before it is allocated
            raise ValueError(f"the model described has {size:,} parameters, but the file holds {held:,}")
        from transformers.utils import logging

        with quiet(logging):
            model, report = model_class.from_pretrained(
                None, config=config, state_dict=dict(weights), output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:  # likewise
        raise WeightsError(f"The weights in {source} don't fit this model: {first_line(error)}") from error
    refuse_report(report, source)
    return model


def refuse_report(report: Mapping[str, Any], source: Path) -> None:
    """What `from_pretrained` said of the weights.

    Raises:
        WeightsError: keys are missing, unknown or of another shape.
    """
    problems = {
        "missing": sorted(report["missing_keys"]),
        "not in the model": sorted(report["unexpected_keys"]),
        "wrong shape": [
            f"{key} {tuple(has)} instead of {tuple(wants)}" for key, has, wants in sorted(report["mismatched_keys"])
        ],
    }
    if any(problems.values()):
        text = "; ".join(f"{what}: {', '.join(keys[:4])}" for what, keys in problems.items() if keys)
        raise WeightsError(f"The weights in {source} don't fit this model. {text}.")


@contextlib.contextmanager
def quiet(logging: Any) -> Iterator[None]:
    """Without a package's progress bars and reports, by its module `utils.logging`; what they say is in the error."""
    level = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
