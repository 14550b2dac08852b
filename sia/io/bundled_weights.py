"""Which file of weights is meant, and those that are bundled: for inference, and to start trainings from."""

from __future__ import annotations

import os
from pathlib import Path

from sia.errors import WeightsError, unknown, warn
from sia.io.input_file import check_input_file
from sia.sharing.hub import HUB, hub_weights

_PACKAGE = Path(__file__).resolve().parents[1]

FOLDER = next((folder for folder in (_PACKAGE / "weights", _PACKAGE.parent / "weights") if folder.is_dir()), _PACKAGE)
"""Inside the installed package; in a clone beside it."""

POSE_COCO = FOLDER / "pose_coco"
"""Models for COCO's keypoints."""

DEFAULT = POSE_COCO / "sia_pose_simple-n16.safetensors"
"""What inference takes where no weights are named; weights/README.md says what they were trained on."""

FEW = 10_000
"""Images from which on a training starts from random weights: there is enough to learn from."""


def bundled_models() -> dict[str, Path]:
    """The files of `POSE_COCO` by name."""
    return {file.stem: file for file in sorted(POSE_COCO.glob("*.safetensors"))}


def find_weights(source: str | os.PathLike[str] | None = None) -> Path:
    """The file that somebody means.

    Args:
        source: a path; the name of bundled weights such as ``sia_pose-n16``, where ``n16`` alone is the simple
            variant's; ``hf:owner/name`` (or ``@revision`` behind it)
            on the Hugging Face hub, downloaded once; None for the bundled default.

    Raises:
        WeightsError: there is no such name, or the hub doesn't give it.
        ConfigError: the package huggingface_hub is missing.
    """
    if source is None:
        return DEFAULT
    name = os.fspath(source)
    if name.startswith(HUB):
        return hub_weights(name.removeprefix(HUB))
    path, bundled = Path(os.path.expanduser(name)), bundled_models()  # noqa: PTH111 (Path's raises for ~nobody)
    if path.suffix == ".pt" and path.parent.name == FOLDER.name and path.stem in bundled and not path.exists():
        warn(f"{path} is now {bundled[path.stem]}; the old name goes in the next version.")
        return bundled[path.stem]
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    found = bundled.get(name) or bundled.get(f"{DEFAULT.stem.rpartition('-')[0]}-{name}")
    if found is None:
        raise WeightsError(f"{unknown('The name', name, list(bundled))} Or give the path of a file.")
    return found


def readable_weights(source: str | os.PathLike[str] | None, flag: str = "--weight_path") -> Path:
    """What a flag names: the file of `find_weights`, which is there and can be read.

    Raises:
        WeightsError: it isn't, or as in `find_weights`.
    """
    path = find_weights(source)
    check_input_file(path, f"Check {flag}.", WeightsError)
    return path


def bundled_start(model: str, size: str, images: int) -> tuple[Path | None, str]:
    """Where a training starts that was told nothing.

    Args:
        model: a key of `MODELS`.
        size: of the model.
        images: to train on.

    Returns:
        A file of weights, or None for random ones, and the reason.
    """
    if images >= FEW:
        return None, f"random ({images} images; the bundled weights are for less than {FEW})"
    path = bundled_models().get(f"{model}-{size}")
    if path is None:
        return None, f"random (no weights of {model} {size} are bundled)"
    return path, f"{path.name}, which is bundled and has seen a part of COCO val2017 (-INIT scratch starts anew)"
