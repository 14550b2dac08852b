"""Checkpoints: written whole or not at all, read without running anyone's code."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.errors import OutputError, WeightsError, first_line

FORMAT = "sia_pose/1"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes a checkpoint; until it is complete and on the disk, the previous file of that name stays.

    Raises:
        OutputError: no permission, a full disk; no temporary file stays behind.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _remove_abandoned(path)
        with partial.open("wb") as stream:
            torch.save(dict(payload), stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports some failed writes as RuntimeError
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OutputError(
            f"Can't write the checkpoint {path}: {reason}. Free space there, or choose another output folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """A killed process leaves its temporary file; the next save takes it away."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one of our own checkpoints, tensors on the CPU.

    Raises:
        WeightsError: missing, broken, unsafe, or not made by SIA Pose.
    """
    payload = _read_pickle(Path(path))
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no checkpoint of SIA Pose (format {FORMAT}). Weights of a backbone go to -BACKBONE."
        )
    missing = [key for key in ("model_config", "skeleton", "weights") if key not in payload]
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing)}: it is incomplete. Use another checkpoint.")
    return payload


def read_state_dict(path: Path) -> dict[str, Any]:
    """Reads a file of weights made by others: .safetensors, or .pt, .pth and .bin of tensors and plain types.

    Returns:
        The dictionary as it stands; nesting under 'model', 'state_dict' or 'teacher' is the converter's affair.

    Raises:
        WeightsError: missing, empty, broken, unsafe, of an unknown kind, or without any tensors.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"{path}: weights must be one of {', '.join(_SUFFIXES)}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    if not _has_tensor(content):
        raise WeightsError(f"{path} holds no tensors. Give a file of weights.")
    return dict(content)


def _has_tensor(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, Mapping) and _has_tensor(v)) for v in content.values())


def check_file(path: Path) -> None:
    """Whether a file of weights is there and can be read.

    Raises:
        WeightsError: it is missing, empty, or can't be read.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give the path of a weights file.")
    try:
        empty = path.stat().st_size == 0
        with path.open("rb"):
            pass
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}.") from error
    if empty:
        raise WeightsError(f"{path} is empty. Copy or download it again.")


def _read_pickle(path: Path) -> Any:
    """weights_only always, and no second try without it: a pickle can run any program."""
    check_file(path)
    try:
        with warnings.catch_warnings():  # torch wonders at pickles by other programs; the error says it all
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path) or "unsupported global" in str(error).lower():
            raise WeightsError(
                f"{path} holds something else than tensors and plain values, and is not loaded: it could run a program "
                "on this machine. Ask its maker for a .safetensors file."
            ) from error
        raise WeightsError(f"{path} is broken or no weights file. Copy or download it again.") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, OSError,
            UnicodeDecodeError, AssertionError, zipfile.BadZipFile) as error:  # fmt: skip
        raise WeightsError(f"{path} is broken or no weights file. Copy or download it again.") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is broken or no safetensors file. Copy or download it again.") from error
