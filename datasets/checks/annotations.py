"""An annotation file as it stands, faults and all: what can be understood of it, for the checks to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.coco_files import AREA_OF_BOX
from utils.skeleton import Skeleton

Row = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One annotation of a category with keypoints; None for what is missing or malformed.

    Attributes:
        row: index in ``annotations``.
        image: index in ``images``.
        box: (4,) x y width height, width and height above 0.
        joints: (K, 3) x, y, v in {0, 1, 2}.
        area: pixels squared, above 0.
        crowd: whether it is a crowd region.
    """

    row: int
    image: int
    box: Floats | None
    joints: Floats | None
    area: float | None
    crowd: bool

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(K,) which joints have v > 0; empty where there are no keypoints."""
        return np.zeros(0, bool) if self.joints is None else np.asarray(self.joints[:, 2] > 0)

    @property
    def covered(self) -> float:
        """Pixels squared: the area, or what SIA Pose and the evaluation take in its place; 0 without a box."""
        boxed = 0.0 if self.box is None else AREA_OF_BOX * float(self.box[2] * self.box[3])
        return self.area or boxed


@dataclass(frozen=True)
class Annotations:
    """What could be understood of a file.

    Attributes:
        file: for messages.
        content: the whole file, as parsed.
        skeleton: of its people; None where the category can't be used.
        images: index in ``images`` by id, of those with an id of their own.
        people: of the categories with keypoints and of known images, in the order of the file.
    """

    file: Path
    content: Row
    skeleton: Skeleton | None
    images: dict[int, int]
    people: list[Person]

    def label(self, row: int) -> str:
        """How messages call an annotation."""
        return f"annotation {self.content['annotations'][row].get('id')}"

    def name(self, image: int) -> str:
        """``file_name`` of an image, whatever it is."""
        return str(self.content["images"][image].get("file_name"))

    def size(self, image: int) -> tuple[int, int] | None:
        """Declared width and height in pixels; None where they are no sizes."""
        row = self.content["images"][image]
        width, height = row.get("width"), row.get("height")
        usable = all(type(side) is int and 0 < side < 2**31 for side in (width, height))
        return (width, height) if usable else None

    @cached_property
    def by_image(self) -> dict[int, list[Person]]:
        """People of each image that has some."""
        groups: dict[int, list[Person]] = {}
        for person in self.people:
            groups.setdefault(person.image, []).append(person)
        return groups
