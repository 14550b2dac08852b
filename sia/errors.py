"""Errors that a user can act on: each message says what is wrong, which value, and how to fix it."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Sequence

from sia.io.secrets import mask

DISK_FULL = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota error
"""Numbers of errors after which nothing more can be written."""


class SiaError(Exception):
    """Base of every error that an entry point prints as one line before it exits with status 1."""


class ConfigError(SiaError):
    """A flag, or a combination of flags, that can't work."""


class DataError(SiaError):
    """An image, a video or an annotation file that can't be used."""


class WeightsError(SiaError):
    """A weights file that is broken, unsafe, or made for another model."""


class OutputError(SiaError):
    """A result that can't be written: no permission, a full disk, a file in the way."""


class TrainingError(SiaError):
    """A training that can't go on, such as one whose loss is not finite."""


class DownloadError(SiaError):
    """A file that can't be fetched, or isn't the one that was asked for."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason_of(error: BaseException) -> str:
    """The same, without number and file name where it comes from the operating system or from FFmpeg."""
    return getattr(error, "strerror", None) or first_line(error)


def unknown(what: str, value: str, known: Sequence[str]) -> str:
    """What to say about a name that is not in a table: the closest ones that are."""
    by_letters = {name.lstrip("-").lower(): name for name in known}
    bare = str(value).lstrip("-").lower()
    close = [bare] if bare in by_letters else []
    close += [letters for letters in by_letters if bare and letters.startswith(bare)]
    close += difflib.get_close_matches(bare, list(by_letters), n=3, cutoff=0.5)
    names = list(dict.fromkeys(by_letters[letters] for letters in close))[:3]
    hint = f" Did you mean {' or '.join(names)}?" if names else f" Known: {', '.join(known)}."
    return f"{what} {value} is unknown.{hint}"


def complain(message: str) -> None:
    """One line on stderr; of several processes with the same error, the first one speaks."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(2)  # by then torchrun has ended this process, unless rank 0 has no error
    print(f"error: {mask(message)}", file=sys.stderr)


def warn(message: str) -> None:
    """One line on stderr, at once, about what goes on in spite of it."""
    print(f"WARNING: {mask(message)}", file=sys.stderr, flush=True)


REFUSED = frozenset({*DISK_FULL, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP})
"""What is no fault of the program, wherever it meets it: permissions, full and broken disks, impossible names."""


def refusal(error: OSError) -> str:
    """One line about what the operating system refuses."""
    place = f" {error.filename}" if error.filename else ""
    return f"Can't read or write{place}: {error.strerror}. Check permissions and free space, or name another place."


def show_every_name() -> None:
    """Lets the console print any text: what its encoding lacks (``LANG=C``, cp1252) comes as an escape.

    Names of files may hold bytes that are no text at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def exit_status(job: Callable[[], int | None], *, failed: int = 1, stopped: str = "") -> int:
    """Runs the job of an entry point; a `SiaError`, and what the system refuses, become one line on stderr.

    Args:
        job: returns its exit status, or None for 0.
        failed: status after an error.
        stopped: line to print after Ctrl-C, if any.

    Returns:
        The exit status; 130 after Ctrl-C.
    """
    show_every_name()
    try:
        status = job() or 0
        print(end="", flush=True)
        return status
    except SiaError as error:
        complain(str(error))
        return failed
    except BrokenPipeError:  # as by `| head`
        _drop_output()
        return failed
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        complain(refusal(error))
        _drop_output()
        return failed
    except KeyboardInterrupt:
        if stopped:
            print(stopped, file=sys.stderr)
        return 130


def _drop_output() -> None:
    """Keeps Python from trying once more, when it exits, to write what stdout did not take."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
