"""Files that a user names: whether they can be read at all, and how large they may be. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path

from sia.errors import DataError, SiaError, WeightsError

MAX_PIXELS = 100_000_000
"""Most pixels of one image or video frame that is decoded unless the user raises it: with them inference takes 2 GB."""
_LIMIT = "SIA_MAX_PIXELS"

PACKED, SMALL = 8, 1 << 26
"""A file may unpack to so many times its size, and to so many bytes more: PyTorch itself doesn't pack at all."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/+(.+)")
"""An address after `Path` took a slash out of it; one letter is a drive."""


def check_input_file(path: Path, hint: str = "Check the path.", error: type[SiaError] = DataError) -> None:
    """Answers at once, before anything is opened: pipes and devices would never end, folders have no bytes.

    Args:
        path: what the user named.
        hint: what to do about it, such as ``Check --weight_path.``.
        error: the class to raise.

    Raises:
        SiaError: nothing there, no regular file, or no permission to read it.
    """
    kind = _kind(path, "file", hint, error)
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device, not a regular file"
        raise error(f"Can't read {path}: it is {what}. {hint}")
    if not os.access(path, os.R_OK):
        raise error(f"Can't read {path}: no permission. {hint}")


def check_weights_file(path: Path) -> None:
    """Whether a file of weights is there and can be read, and how large it would be when it is unpacked.

    Raises:
        WeightsError: it is missing, empty, no regular file, can't be read, or is a bomb.
    """
    check_input_file(path, "Give the path of a weights file.", WeightsError)
    size = path.stat().st_size
    if not size:
        raise WeightsError(f"{path} is empty. Copy or download it again.")
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # zipfile raises whatever a broken directory makes it trip over
        raise broken_weights(path) from error
    if unpacked > PACKED * size + SMALL:
        raise WeightsError(
            f"{path} has {size:,} bytes, but would unpack to {unpacked:,}: weights can't be packed like this. "
            "Copy or download it again, from its maker."
        )


def broken_weights(path: Path, what: str = "weights file") -> WeightsError:
    """What to raise of one that can't be read as what it should be."""
    return WeightsError(f"{path} is broken or no {what}. Copy or download it again.")


def check_input_folder(path: Path, hint: str = "Check the path.", error: type[SiaError] = DataError) -> None:
    """Answers at once whether a folder can be looked into; arguments and errors are those of `check_input_file`."""
    if not stat.S_ISDIR(_kind(path, "folder", hint, error)):
        raise error(f"Can't read {path}: it is no folder. {hint}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise error(f"Can't read {path}: no permission. {hint}")


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal.

    Raises:
        DataError: the file can't be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"Can't read {path}: {error.strerror}. Check its permissions.") from error
    return digest.hexdigest()


def _kind(path: Path, wanted: str, hint: str, error: type[SiaError]) -> int:
    """The mode of what is there."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        missing = isinstance(problem, (FileNotFoundError, NotADirectoryError, ValueError))
        address = _ADDRESS.fullmatch(path.as_posix())
        if missing and address and wanted == "file":
            raise error(
                f"Can't read {address[1]}://{address[2]}: only files are read here. Download it first."
            ) from None
        reason = f"no such {wanted}" if missing else getattr(problem, "strerror", None) or str(problem)
        raise error(f"Can't read {path}: {reason}. {hint}") from None


def pixel_limit() -> int:
    """Most pixels of one image or video frame that is decoded by this process and those that it starts."""
    return int(os.environ.get(_LIMIT, MAX_PIXELS))


def set_pixel_limit(pixels: int) -> None:
    """What ``--max_pixels`` of every entry point does. Kept in the environment, so that loader workers obey it too."""
    os.environ[_LIMIT] = str(pixels)
