"""Arrays in .npz files: the headers are checked against a table before anything is read or allocated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sia.errors import DataError
from sia.io.input_file import check_input_file

LARGEST = 1 << 30
"""Bytes of one unpacked array."""


class Wanted(NamedTuple):
    """What an array has to be.

    Attributes:
        kinds: letters of `numpy.dtype.kind`: f float, i and u whole numbers, U text.
        shape: of each dimension the length, or a letter that stands for the same length in every array of the file.
        finite: whether NaN and infinity are refused.
    """

    kinds: str
    shape: tuple[int | str, ...]
    finite: bool = False


def read_npz(path: Path, wanted: Mapping[str, Wanted], what: str, remedy: str) -> dict[str, NDArray[Any]]:
    """Some arrays of a file.

    Args:
        path: the file.
        wanted: what each array has to be, by name; others are not looked at.
        what: the file is, for the message.
        remedy: what to do where it can't be used.

    Raises:
        DataError: the file is missing, unreadable or broken, or an array is missing or not what it has to be.
    """
    check_input_file(path, remedy)
    lengths: dict[str, int] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read(archive, name, entry, lengths) for name, entry in wanted.items()}
    except Exception as problem:  # zipfile, zlib and NumPy raise whatever they trip over
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise DataError(f"The {what} {path} can't be used: {reason}. {remedy}") from None


def _read(archive: zipfile.ZipFile, name: str, wanted: Wanted, lengths: dict[str, int]) -> NDArray[Any]:
    """One array; a ValueError says what is wrong with it."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"it has no array '{name}'")
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _READERS:
            raise ValueError(f"its arrays are of the unknown version {version}")
        shape, _, dtype = _READERS[version](stream)
        _check_shape(name, shape, wanted.shape, lengths)
        if dtype.kind not in wanted.kinds:
            raise ValueError(f"'{name}' holds {dtype}, not {' or '.join(_KINDS[kind] for kind in wanted.kinds)}")
        size = math.prod(shape) * dtype.itemsize
        if size > min(LARGEST, member.file_size):
            held = f"the file has {member.file_size:,}" if size > member.file_size else f"at most {LARGEST:,} are read"
            raise ValueError(f"'{name}' of {_shown(shape)} would be {size:,} bytes, but {held}")
    with archive.open(member) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    if wanted.finite and not np.isfinite(array).all():
        raise ValueError(f"'{name}' has values that are not finite")
    return array


_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_KINDS = {"f": "floating-point numbers", "i": "whole numbers", "u": "whole numbers without sign", "U": "text"}


def _check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int | str, ...], lengths: dict[str, int]) -> None:
    fits = len(shape) == len(wanted) and all(
        length >= 0 and length == (side if isinstance(side, int) else lengths.setdefault(side, length))
        for length, side in zip(shape, wanted, strict=True)
    )
    if not fits:
        sides = tuple(lengths.get(side, side) if isinstance(side, str) else side for side in wanted)
        raise ValueError(f"'{name}' has the shape {_shown(shape)} instead of {_shown(sides)}")


def _shown(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
