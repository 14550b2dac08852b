"""Names of images in annotation files: whether one stays inside the image folder, and which file there is meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from urllib.parse import unquote

from sia.errors import DataError

_MOST_PARTS = 32
_SPLITS = ("train2017", "val2017", "train", "val")
_SUBFOLDERS = (*_SPLITS, "images", *(f"images/{split}" for split in _SPLITS))


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


class Located(NamedTuple):
    """Where images are.

    Attributes:
        paths: relative to the root; None where an image is missing.
        foreign: indices of those whose names are of another computer: their last parts were found.
        doubtful: those of them that have come to the file of another image.
    """

    paths: list[str | None]
    foreign: list[int]
    doubtful: list[int]


class ImageFolders:
    """Listings of the root and of the sub folders that COCO and its kin use, one a folder."""

    def __init__(self, root: Path, annotation_file: Path) -> None:
        self.root = root
        self.hint = next((word for word in ("train", "val") if word in annotation_file.stem.lower()), None)
        self.listings: dict[str, set[str]] = {}
        self.subfolders = [name for name in _SUBFOLDERS if (root / name).is_dir()]

    def locate(self, names: Sequence[str]) -> Located:
        """Every named file, as it stands or else by its last parts.

        Raises:
            DataError: a name is in several sub folders.
        """
        paths, foreign = [self.find(name) for name in names], []
        for i in [i for i, path in enumerate(paths) if path is None]:
            paths[i] = next(filter(None, map(self.find, tails_of_name(names[i]))), None)
            foreign += [i] if paths[i] else []
        taken = Counter(paths)
        return Located(paths, foreign, [i for i in foreign if taken[paths[i]] > 1])

    def find(self, name: str) -> str | None:
        """Path relative to the root, or None."""
        if problem_of_name(name) is not None:
            return None
        if self._has(name):
            return name
        found = [path for path in (f"{folder}/{name}" for folder in self.subfolders) if self._has(path)]
        if len(found) > 1 and self.hint:
            found = [path for path in found if self.hint in path[: -len(name)]] or found
        if len(found) > 1:
            raise DataError(
                f"{self.root}: image {name} is at {' and at '.join(found)}. Give the folder of the images itself."
            )
        return found[0] if found else None

    def _has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self.listings:
            try:
                self.listings[folder] = {entry.name for entry in (self.root / folder).iterdir()}
            except (OSError, ValueError):
                self.listings[folder] = set()
        return name in self.listings[folder]


def locate_files(root: Path, names: Sequence[str], ids: Sequence[int], annotation_file: Path) -> Located:
    """Where each of the images that a file names is below the root; none is missing.

    Args:
        root: the folder of the images, or COCO's own layout with ``train2017/`` or ``val2017/`` below it.
        names: ``file_name`` of each.
        ids: of the images, for messages.
        annotation_file: for messages.

    Raises:
        DataError: the root is no folder, files are missing, or a name is in several sub folders.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of images. Give the folder of the images or COCO's root folder.")
    located = ImageFolders(root, annotation_file).locate(names)
    missing = [i for i, path in enumerate(located.paths) if path is None]
    for i in (*missing, *located.doubtful):
        problem = problem_of_name(names[i])
        if problem or i in located.doubtful:
            reason = problem or ", which may be the file of another image. Give a path inside the image folder."
            raise DataError(f"{annotation_file}: image {ids[i]} has file_name {names[i]!r}{reason}")
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(names)} images of {annotation_file.name} are missing, such as "
            f"{', '.join(names[i] for i in missing[:3])}. Give the folder that holds them, or its parent with "
            "train2017/ and val2017/."
        )
    return located
