"""An annotation file as it stands, faults and all: what can be understood of it, for the checks to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import AnnotationFile
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One annotation of a category with keypoints, as `sia.coco.annotation_file.Person`, in arrays.

    Attributes:
        row: index in ``annotations``.
        image: index in ``images``.
        box: (4,) x y width height, width and height above 0.
        joints: (K, 3) x, y, v in {0, 1, 2}; None where there are none.
        area: pixels squared, above 0.
        crowd: whether it is a crowd region.
    """

    row: int
    image: int
    box: Floats
    joints: Floats | None
    area: float
    crowd: bool

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(K,) which joints have v > 0; empty where there are no keypoints."""
        return np.zeros(0, bool) if self.joints is None else np.asarray(self.joints[:, 2] > 0)


@dataclass(frozen=True)
class Annotations:
    """What could be understood of a file.

    Attributes:
        file: for messages.
        parsed: all of it, with the faults.
        people: those without faults, in the order of the file.
    """

    file: Path
    parsed: AnnotationFile
    people: list[Person]

    @property
    def content(self) -> Row:
        """The whole file, with the right values where others were written."""
        return self.parsed.content

    @property
    def skeleton(self) -> Skeleton | None:
        """Of its people; None where the category can't be used."""
        return self.parsed.skeleton

    @property
    def images(self) -> dict[int, int]:
        """Index in ``images`` by id, of those with an id of their own."""
        return self.parsed.images

    def label(self, row: int) -> str:
        """How messages call an annotation."""
        return f"annotation {self.content['annotations'][row].get('id')}"

    def name(self, image: int) -> str:
        """``file_name`` of an image, whatever it is."""
        return str(self.content["images"][image].get("file_name"))

    def size(self, image: int) -> tuple[int, int] | None:
        """Declared width and height in pixels; None where they are no sizes."""
        return self.parsed.sizes[image]

    @cached_property
    def by_image(self) -> dict[int, list[Person]]:
        """People of each image that has some."""
        groups: dict[int, list[Person]] = {}
        for person in self.people:
            groups.setdefault(person.image, []).append(person)
        return groups
