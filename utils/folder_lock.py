"""One process at a time in a folder; the lock ends with the process, however that ends."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from sia.errors import ConfigError
from sia.io.output_file import output_error

LOCK = ".lock"
"""The name of the file that is locked."""


def lock_folder(folder: Path) -> IO[bytes]:
    """Holds the folder until the returned file is closed or the process ends.

    Raises:
        ConfigError: another process holds it.
        OutputError: nothing can be written there.
    """
    import fcntl  # not on Windows, which can't train on several processes either

    try:
        stream = (folder / LOCK).open("wb")
    except OSError as error:
        raise output_error(error, folder) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise ConfigError(f"Another process works in {folder}. Wait for it, or choose another folder.") from None
    return stream
