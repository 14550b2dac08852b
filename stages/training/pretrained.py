"""The weights that a backbone starts from: a timm name, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sia.errors import WeightsError, first_line


@dataclass(frozen=True)
class Pretrained:
    """A start.

    Attributes:
        architecture: the backbone's name for the registry; None for the size's own.
        weights: a state dict, or None for random weights.
        source: what it is, for the start block.
        is_trained: whether a training stands behind the weights.
        is_whole: whether they are those of a whole model with the same head, not of its backbone alone.
        is_complete: whether every weight has to fit: that model is of the same variant and the same keypoints.
    """

    architecture: str | None = None
    weights: Mapping[str, Any] | None = None
    source: str = "random"
    is_trained: bool = False
    is_whole: bool = False
    is_complete: bool = True


def load_pretrained(backbone: str) -> Pretrained:
    """What -BACKBONE asks for.

    Raises:
        WeightsError: a file that can't be used, or weights that can't be downloaded.
    """
    path = Path(backbone)
    if path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt") or path.exists():
        return _from_file(path)
    return _from_timm(backbone)


def _from_file(path: Path) -> Pretrained:
    from sia.backbones.pretrained_weights import architecture_of
    from sia.io.checkpoint import read_state_dict
    from utils.hub.model_store import check_unchanged

    check_unchanged(path)
    weights = read_state_dict(path)
    architecture = architecture_of(weights)
    return Pretrained(architecture, weights, f"backbone from {path} ({architecture})", True)


def _from_timm(name: str) -> Pretrained:
    import timm

    if not timm.is_model(name):
        return Pretrained(name)  # the registry answers with close names
    try:
        weights = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the download passes through three libraries, each with errors of its own
        raise WeightsError(
            f"The weights of -BACKBONE {name} can't be had: {first_line(error)}. Check the network and the "
            "name's tag (timm.list_pretrained()), or give a file of weights."
        ) from error
    return Pretrained(name, weights, f"backbone {name}, pretrained, from timm", True)
