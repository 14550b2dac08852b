"""Names of pictures in annotation files: whether one stays inside the image folder."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath


def problem_of_name(name: object) -> str | None:
    """What is wrong with a ``file_name``, as the end of a sentence with the remedy; None where it can be used."""
    if not isinstance(name, str) or not name.strip("./ ") or "\0" in name:
        return ". Give a path relative to the image folder."
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        return ", outside the image folder. Give a path inside it."
    return None
