"""The weights that come with the project: for inference, and as a start for trainings on few images."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

FOLDER = next((folder for folder in (_PACKAGE / "weights", _PACKAGE.parent / "weights") if folder.is_dir()), _PACKAGE)
"""Inside the installed package; in a clone beside it."""

DEFAULT = FOLDER / "sia_pose_simple-n16.pt"
"""What inference takes where no weights are named; weights/README.md says what they were trained on."""

FEW = 10_000
"""Images from which on a training starts from random weights: there is enough to learn from."""


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
    path = FOLDER / f"{model}-{size}.pt"
    if not path.is_file():
        return None, f"random (no weights of {model} {size} come along)"
    return path, f"{path.name}, which comes along and has seen a part of COCO val2017 (-INIT scratch starts anew)"
