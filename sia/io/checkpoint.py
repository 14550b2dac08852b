"""Checkpoints: written whole or not at all, read without running anyone's code.

What can't be used is a WeightsError that says why.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from sia.errors import WeightsError, first_line
from sia.io.first_edition import rename_checkpoint
from sia.io.input_file import broken_weights, check_weights_file
from sia.io.output_file import complete_stream, output_error, write_bytes

FORMAT = "sia_pose/1"
KEPT = ("format", "model_config", "skeleton", "metrics")
"""What is passed on of a checkpoint beside its weights."""
HEADER = "sia_pose"
"""Key of `KEPT`, as JSON, in the header of a .safetensors file."""
DEEPEST, MOST_ENTRIES = 64, 20_000_000
"""Levels and entries of what is in a file."""
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_DTYPES = frozenset(
    (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16,
     torch.int32, torch.int64)
)  # fmt: skip


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes a checkpoint; until it is complete and on the disk, the previous file of that name stays.

    Raises:
        OutputError: no permission, a full disk; no temporary file stays behind.
    """
    try:
        with complete_stream(path) as stream:
            torch.save(dict(payload), stream)
    except RuntimeError as error:  # torch reports some failed writes so
        raise output_error(OSError(first_line(error)), path) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one of our own checkpoints, tensors on the CPU."""
    payload = _read(path)
    if path.suffix == ".safetensors":
        payload = {**_read_header(path), "weights": payload}
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no checkpoint of SIA Pose (format {FORMAT}). Weights of a backbone go to -BACKBONE."
        )
    missing = [key for key in ("model_config", "skeleton", "weights") if key not in payload]
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing)}: it is incomplete. Use another checkpoint.")
    return rename_checkpoint(payload)


def save_safetensors(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes the weights of a checkpoint, number by number, with `KEPT`, for `load_checkpoint` to read.

    Raises:
        OutputError: no permission, a full disk.
    """
    header = {HEADER: json.dumps({key: payload[key] for key in KEPT if key in payload})}
    weights = {key: value.contiguous().clone() for key, value in payload["weights"].items()}
    write_bytes(path, save(weights, header))


def save_weights(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes a .safetensors file or, by any other suffix, a checkpoint; errors as in `save_checkpoint`."""
    write = save_safetensors if path.suffix == ".safetensors" else save_checkpoint
    write(path, payload)


def _read_header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        header = (file.metadata() or {}).get(HEADER, "{}")
    try:
        values = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise broken_weights(path, "safetensors file") from error
    return values if isinstance(values, dict) else {}


def read_state_dict(path: Path) -> dict[str, Any]:
    """Reads a file of weights made by others: .safetensors, or .pt, .pth and .bin of tensors and plain types.

    Returns:
        The dictionary as it stands; nesting under 'model', 'state_dict' or 'teacher' is the converter's affair.
    """
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"{path}: weights must be one of {', '.join(_SUFFIXES)}.")
    content = _read(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    if not _has_tensor(content):
        raise WeightsError(f"{path} holds no tensors. Give a file of weights.")
    return dict(content)


def _has_tensor(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, Mapping) and _has_tensor(v)) for v in content.values())


def _read(path: Path) -> Any:
    """Tensors and plain values; weights_only always, and no second try without it: a pickle can run any program."""
    check_weights_file(path)
    is_pickle = path.suffix != ".safetensors"
    try:
        with warnings.catch_warnings():  # torch wonders at pickles by other programs; the error says it all
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True) if is_pickle else load_file(path)
    except Exception as error:  # a broken file can make it raise anything
        if isinstance(error, pickle.UnpicklingError) and (
            zipfile.is_zipfile(path) or "unsupported global" in str(error).lower()
        ):
            raise WeightsError(
                f"{path} holds something else than tensors and plain values, and is not loaded: it could run a program "
                "on this machine. Ask its maker for a .safetensors file."
            ) from error
        raise broken_weights(path, "weights file" if is_pickle else "safetensors file") from error
    _check_content(content, path)
    return content


def _check_content(content: Any, path: Path) -> None:
    """Whether everything in it is what it seems: no tensor without its own numbers, nothing within itself."""
    sizes: dict[int, int] = {}  # entries in each container, counted as often as they would be met

    def count(value: Any, depth: int) -> int:
        if isinstance(value, Tensor):
            _check_tensor(value, path)
        if not isinstance(value, Mapping | list | tuple | set):
            return 1
        if depth > DEEPEST:
            raise WeightsError(
                f"{path} is nested in more than {DEEPEST} levels, or within itself: it is no weights file."
            )
        if id(value) not in sizes:
            inner = [*value, *value.values()] if isinstance(value, Mapping) else value
            sizes[id(value)] = 1 + sum(count(entry, depth + 1) for entry in inner)
        return sizes[id(value)]

    if count(content, 0) > MOST_ENTRIES:
        raise WeightsError(f"{path} has more than {MOST_ENTRIES:,} entries: it is no weights file.")


def _check_tensor(value: Tensor, path: Path) -> None:
    """Whether it is dense, on the CPU, of plain numbers, and no larger than what the file holds of it."""
    plain = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
    plain = plain and not value.is_nested and value.dtype in _DTYPES
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise WeightsError(
            f"{path} holds a tensor of {tuple(value.shape)} that is sparse, quantised, expanded, without numbers or of "
            f"an unusual type ({value.dtype}). Save it again as dense tensors of numbers."
        )
