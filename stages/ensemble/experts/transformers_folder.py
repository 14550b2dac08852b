"""Models of the package transformers from local files: every weight fits, or none is used."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.coco.coco_files import read_json
from sia.errors import DataError, WeightsError, first_line
from sia.io.checkpoint import read_state_dict


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
