"""Checks of the images' names: those that lead out of the folder, and those that another computer wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets.coco.image_name import ImageFolders
from datasets.coco.image_name import problem_of_name
from datasets.validation.annotations import Annotations
from datasets.validation.issue import Issue


def file_names(data: Annotations) -> list[str]:
    """``file_name`` of every image; empty where it is no text, which is a fault of its own."""
    names = [row.get("file_name") for row in data.content["images"]]
    return [name if isinstance(name, str) else "" for name in names]


def check_names(data: Annotations, folder: Path) -> Iterator[Issue]:
    """The same decisions as `datasets.coco.coco_pose.CocoPose` makes.

    Raises:
        DataError: a name is in several sub folders.
    """
    names = file_names(data)
    located = ImageFolders(folder, data.file).locate(names)
    for image, name in enumerate(names):
        problem = problem_of_name(name)
        if image in located.doubtful:
            message = f"{name!r} leads to the file of another image by its last parts."
            yield Issue("image-name", message, image)
        elif image in located.foreign:
            yield Issue("image-name-foreign", f"{name!r} is taken as {located.paths[image]}.", image)
        elif located.paths[image] is None and problem is not None and name.strip("./\\ ") and "\0" not in name:
            yield Issue("image-name", f"file_name {name!r}{problem}", image)
