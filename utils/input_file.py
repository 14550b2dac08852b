"""Files that a user names: whether they can be read at all, and how large they may be. Imports nothing heavy."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from utils.errors import DataError, SiaError

MAX_PIXELS = 120_000_000
"""Most pixels of one image or video frame that is decoded unless the user raises it: a phone's 108 megapixels fit."""

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
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        missing = isinstance(problem, (FileNotFoundError, NotADirectoryError, ValueError))
        reason = "no such file" if missing else getattr(problem, "strerror", None) or str(problem)
        address = _ADDRESS.fullmatch(path.as_posix())
        if missing and address:
            raise error(
                f"Can't read {address[1]}://{address[2]}: only files are read here. Download it first."
            ) from None
        raise error(f"Can't read {path}: {reason}. {hint}") from None
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device, not a regular file"
        raise error(f"Can't read {path}: it is {what}. {hint}")
    if not os.access(path, os.R_OK):
        raise error(f"Can't read {path}: no permission. {hint}")
