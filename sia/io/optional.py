"""Packages that only some commands need: imported where they are used."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from sia.errors import ConfigError


def need(package: str, purpose: str) -> Any:
    """Imports a package that is not among the project's requirements.

    Args:
        package: its name, for Python and for pip.
        purpose: what it is needed for, in a few words.

    Raises:
        ConfigError: it is not installed, or can't be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == package else f" ({error})"
        name = package.replace("_", "-")
        raise ConfigError(f"{purpose} needs the package {name}{reason}: pip install {name}") from error


EXTRAS = {
    "demo": ("gradio",),
    "sources": ("mss", "watchfiles", "yt_dlp"),
    "eval": ("faster_coco_eval", "tqdm"),
    "formats": ("pandas", "pyarrow", "sleap_io"),
    "video": ("av", "scipy", "tqdm"),
    "onnx": ("onnxruntime",),
    "export": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
    "hub": ("huggingface_hub",),
    "lift": ("scipy", "matplotlib"),
    "llm": ("transformers",),
    "logging": ("wandb", "tensorboard"),
    "sdpose": ("diffusers", "transformers"),
    "train": ("pycocotools", "safetensors", "matplotlib", "yaml", "peft"),
}
"""Of pyproject.toml: what is imported where the extra is needed."""


def need_extra(extra: str, purpose: str) -> None:
    """Whether the packages of an extra are installed.

    Raises:
        ConfigError: some are not.
    """
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f'{purpose} needs {", ".join(missing)}: pip install "sia-pose[{extra}]"')


def need_stages(module: str, purpose: str) -> Any:
    """A module that lives above the library: named, not imported, so that nothing here depends on it.

    Raises:
        ConfigError: it is not there, as in the installed package.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ConfigError(
            f"{purpose} needs the training code, which is not part of the installed package. Run this in a clone of "
            "the repository."
        ) from error
