"""Names of images in annotation files: whether one stays inside the image folder, and what a foreign one may mean."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

_MOST_PARTS = 32


def problem_of_name(name: object) -> str | None:
    """What is wrong with a ``file_name``, as the end of a sentence with the remedy; None where it can be used."""
    if not isinstance(name, str) or not name.strip("./ ") or "\0" in name:
        return ". Give a path relative to the image folder."
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        return ", outside the image folder. Give a path inside it."
    return None


def tails_of_name(name: str) -> list[str]:
    r"""Relative paths that a name of another computer or program may mean, the longest first.

    ``C:\data\img\a.jpg``, ``/home/x/img/a.jpg``, ``file:///img/a.jpg``, ``img/a%20b.jpg`` and Label Studio's
    ``/data/local-files/?d=img/a.jpg`` end in the folders and the name of the image. None of the paths leaves a folder.
    """
    bare = re.sub(r"^file:/*", "/", name.rpartition("?d=")[2])
    found: dict[str, None] = {}
    for text in (bare, unquote(bare)):
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        inside = parts[len(parts) - parts[::-1].index("..") if ".." in parts else 0 :][-_MOST_PARTS:]
        found.update(dict.fromkeys("/".join(inside[start:]) for start in range(len(inside))))
    return [path for path in found if problem_of_name(path) is None]
