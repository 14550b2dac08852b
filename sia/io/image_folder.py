"""Which images a path, a folder or a glob names, and what of it is left out."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sia.errors import DataError, warn
from sia.io.images import image_suffixes
from sia.io.input_file import check_input_folder
from sia.io.optional import need
from sia.video.source import VIDEO_SUFFIXES

_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"})
"""What other systems leave in folders; so are all names that begin with a dot."""
_SETTLED = 0.3
"""Seconds after which a file that doesn't change is written."""
_NAMED = 5
"""So many files are named; the others are counted."""


def find_images(pattern: str, warn: Callable[[str], None] = warn, flag: str = "--image_path") -> list[Path]:
    """The images that a path, a folder or a glob names, in natural order (2 before 10).

    A folder gives the images directly in it; ``folder/**/*.jpg`` gives those below it as well.

    Args:
        pattern: what the user named.
        warn: is told of all that is left out, and why; by default stderr is. Junk of other systems isn't mentioned.
        flag: to name in messages.

    Raises:
        DataError: nothing there, or no image in it.
    """
    if not pattern.strip():
        raise DataError(f"{flag} is empty. Give an image, a folder of images, or a glob in quotes.")
    name = os.path.expanduser(pattern)  # noqa: PTH111 (Path.expanduser fails for a file called ~x.jpg)
    if os.path.isfile(name):  # noqa: PTH113 (never raises); before globbing: a file name may have brackets in it
        return [Path(name)]
    if os.path.isdir(name):  # noqa: PTH112
        try:
            entries = list(Path(name).iterdir())
        except OSError as error:
            raise DataError(f"Can't read the folder {name}: {error.strerror}. Check {flag}.") from None
        return _images_of(entries, f"The folder {name} has no images directly in it", name, warn)
    if not glob.has_magic(name):
        if os.path.lexists(name):
            raise DataError(f"{name} is not a regular file or a folder. Check {flag}.")
        raise DataError(f"No such image or folder: {name}. Check {flag}.")
    try:
        found = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    except (OSError, ValueError) as error:
        raise DataError(f"Can't look for '{pattern}': {error}. Check {flag}.") from None
    if not found:
        raise DataError(f"No image matches '{pattern}'. Check {flag}.")
    return _images_of(found, f"No image matches '{pattern}'", "", warn)


def common_folder(files: Iterable[Path]) -> Path:
    """The folder that all files are in or below, absolute; the current one where they share none."""
    folders = [file.absolute().parent for file in files]
    return Path(os.path.commonpath(folders)) if len({folder.drive for folder in folders}) == 1 else Path.cwd()


def name_below(file: Path, folder: Path) -> str:
    """What results call an image: its place below a folder, with forward slashes, as UTF-8 (see `readable`)."""
    return readable(Path(os.path.relpath(file.absolute(), folder)).as_posix())


def readable(text: Path | str) -> str:
    """For JSON: a name that is not UTF-8 with escapes, because strict readers refuse lone surrogates."""
    return str(text).encode(errors="backslashreplace").decode()


def watch_folder(folder: str) -> Iterator[Path | None]:
    """The images in a folder, then those that come into it, each once it is written; never ends.

    Yields:
        A path, or None where there is none for the moment, a few times a second.

    Raises:
        ConfigError: the package watchfiles is missing.
        DataError: no such folder.
    """
    watch = need("watchfiles", "Watching a folder").watch
    check_input_folder(Path(folder))
    options = {"rust_timeout": 200, "yield_on_timeout": True, "recursive": False}
    seen, looks = set[Path](), dict[Path, tuple[float, object]]()
    """What was given, and what may still be written: since when it has been as it is, and how that is."""
    for turn, changes in enumerate(watch(folder, watch_filter=None, debounce=200, **options)):
        for path in [Path(folder, Path(path).name) for _, path in changes] if turn else Path(folder).iterdir():
            if path not in seen and _why_not(path) is None:
                looks.setdefault(path, (0.0, None))
        for path in sorted(looks, key=_natural):
            state, now = _state(path), time.monotonic()
            if state is None:
                del looks[path]
            elif state != looks[path][1]:
                looks[path] = now, state
            elif now - looks[path][0] >= _SETTLED:
                del looks[path]
                seen.add(path)
                yield path
        yield None


def _state(path: Path) -> object:
    """Differs when a file has changed; None where it is gone."""
    with contextlib.suppress(OSError):
        about = path.stat()
        return about.st_size, about.st_mtime_ns
    return None


def _images_of(paths: Iterable[Path], nothing: str, folder: str, warn: Callable[[str], None]) -> list[Path]:
    """The images among them; the others are named, by reason."""
    images, left_out = list[Path](), defaultdict[str, list[str]](list)
    for path in paths:
        reason = _why_not(path)
        if reason is None:
            images.append(path)
        elif reason and (folder or not path.is_dir()):
            left_out[reason].append(path.name)
    lines = []
    for reason, names in sorted(left_out.items()):
        rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"{', '.join(sorted(names)[:_NAMED])}{rest} left out: {reason}.")
    if not images:
        hint = f"For those in folders below it, use a glob in quotes: '{folder}/**/*.jpg'." if folder else ""
        raise DataError(" ".join(filter(None, [f"{nothing}.", *lines, hint])))
    for line in lines:
        warn(line)
    return sorted(images, key=_natural)


def _why_not(path: Path) -> str | None:
    """The reason to leave it out; empty for junk, None for an image."""
    if path.name.startswith(".") or path.name.lower() in _JUNK or "__MACOSX" in path.parts:
        return ""
    if os.path.isdir(path):  # noqa: PTH112
        return "a folder; for the images below it use a glob in quotes such as 'FOLDER/**/*.jpg'"
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return "a video; give it by itself"
    if path.suffix.lower() not in image_suffixes():
        return "not the ending of an image format that can be read"
    if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113
        return "not a regular file, or a link to nothing"
    return None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Odd parts are digits: ASCII ones, because others don't always make a number."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]
