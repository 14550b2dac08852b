"""Output that overwrites nothing and is never half-written: new folders, and files that appear when complete.

What the file system refuses is an OutputError everywhere; an earlier file of the same name stays then.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

from sia.errors import ConfigError, OutputError


def output_error(error: OSError, path: Path) -> OutputError:
    """The user's version of an operating system's refusal to write."""
    reason = error.strerror or str(error)
    return OutputError(f"Can't write {path}: {reason}. Free space there, or choose another output folder.")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a refusal into the user's version of it."""
    try:
        yield
    except OSError as error:
        raise output_error(error, path) from error


def check_new(path: Path, flag: str = "--output", makes_folder: bool = False) -> None:
    """For files that are written at the end of a long job.

    Args:
        path: the file.
        flag: that names it.
        makes_folder: whether the job makes its folder, too.

    Raises:
        ConfigError: it exists already, or its folder doesn't.
    """
    if os.path.lexists(path):  # never raises: where nothing may be looked at, writing says so
        raise ConfigError(f"{flag} {path} exists already. Name another file; nothing is overwritten.")
    try:
        is_folder = stat.S_ISDIR(path.absolute().parent.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError:  # writing says so
        return
    if not is_folder and not makes_folder:
        raise ConfigError(f"{flag} {path}: there is no folder {path.parent}. Make it first.")


def numbered_folder(parent: Path, name: str) -> Path:
    """Makes the first of ``parent/name-1``, ``parent/name-2``, ... that does not exist yet."""
    return first_free_folder(parent / f"{name}-{number}" for number in count(1))


def refuse_file(wanted: Path) -> None:
    """For a folder that is made at the end of a long job, too: a file in its place is an OutputError."""
    if os.path.isfile(wanted):  # noqa: PTH113 (as above)
        raise OutputError(f"--output_dir {wanted} is a file. Name a folder.")


def named_folder(wanted: Path) -> Path:
    """Makes the folder, or the first of ``wanted-2``, ``wanted-3``, ... where it has files in it already."""
    is_empty = False
    with contextlib.suppress(OSError):
        is_empty = wanted.is_dir() and next(wanted.iterdir(), None) is None
    if is_empty:
        with writing(wanted), tempfile.TemporaryFile(dir=wanted):
            return wanted
    refuse_file(wanted)
    if wanted.name in ("", ".."):
        raise OutputError(f"--output_dir {wanted} has files in it already. Name a new folder.")
    return first_free_folder(chain([wanted], (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))))


def first_free_folder(candidates: Iterable[Path]) -> Path:
    """Makes the first of these folders that does not exist yet, and its parents."""
    for folder in candidates:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not os.path.exists(folder):  # noqa: PTH110 (as above)  # a file stands where one of the parents should be
                raise OutputError(
                    f"Can't make the folder {folder}: a part of its path is a file. Choose another output folder."
                ) from None
            continue
        except OSError as error:
            raise output_error(error, folder) from error
        return folder
    raise AssertionError("the candidates never end")


@contextlib.contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Lends a temporary name in the same folder; the file gets its own name when the block ends without an error."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def complete_stream(path: Path) -> Iterator[BinaryIO]:
    """Lends a stream; what was written is on the disk before the file gets its name."""
    with complete_file(path) as partial, partial.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a whole file or nothing."""
    with complete_stream(path) as stream:
        stream.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8, whole or not at all; bytes of names that are no UTF-8 as escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Writes standard JSON (no NaN), whole or not at all."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")
