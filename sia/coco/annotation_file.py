"""What a COCO keypoint file says, as every reader takes it: its people, its faults, and what was taken for right."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]
Floats = NDArray[np.float64]

OF_IMAGES = ("image-name", "image-size-missing")
"""Faults that only matter to who opens the images."""
OUTSIDE_TOLERANCE = 1.0
"""Pixels by which a labelled joint may leave the image: rounding, not a mistake."""


class Issue(NamedTuple):
    """One defect at one place.

    Attributes:
        check: its kind; one of `datasets.validation.CHECKS`.
        message: what was found, with the values.
        image: index of the image in the file, None where it concerns no single image.
        row: index of the annotation in the file, None where it concerns no single annotation.
        joints: indices of the keypoints it is about.
    """

    check: str
    message: str
    image: int | None = None
    row: int | None = None
    joints: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Person:
    """One annotation of a category with the skeleton's keypoints, of an image that is there; crowds as well.

    Attributes:
        row: index in ``annotations``.
        image: index in ``images``.
        box: (4,) x y width height in pixels; width and height above 0.
        keypoints: x, y, v of the K keypoints of its category, flat, as the file has them; zeros where it has none. v is
            0, 1 or 2.
        area: in pixels squared, above 0.
        crowd: whether it is a crowd region.
        confidences: K in [0, 1], ``keypoint_confidences``: how far each label is trusted; None for labels by people.
        block: index of its category in the skeleton.
    """

    row: int
    image: int
    box: Floats
    keypoints: list[float]
    area: float
    crowd: bool
    confidences: list[float] | None = None
    block: int = 0

    @property
    def joints(self) -> Floats:
        """(K, 3) x, y, v; made on demand, since an array takes twice the memory of the file's own numbers."""
        return np.array(self.keypoints, np.float64).reshape(-1, 3)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(K,) which joints have v > 0."""
        return np.asarray(self.joints[:, 2] > 0)

    def outside(self, size: tuple[int, int] | None) -> NDArray[np.bool_]:
        """(K,) which labelled joints lie outside an image of width, height; none where that is unknown."""
        points, limits = self.joints[:, :2], np.array(size or (np.inf, np.inf)) + OUTSIDE_TOLERANCE
        beyond = (points < -OUTSIDE_TOLERANCE) | (points > limits)
        return np.asarray(self.labelled & beyond.any(axis=1))


@dataclass
class AnnotationFile:
    """What a file says.

    Attributes:
        content: with the right values where others were written; rows that were right are the same objects.
        path: for messages.
        skeleton: of its people; None where the categories can't be used. Categories with the same keypoints are one.
        images: index in ``images`` by id.
        sizes: width and height by index in ``images``; None where they are faulty.
        people: in the order of the file, without those that have faults or nothing to see.
        merged: ids of the categories with the skeleton's keypoints.
        block_of: index of each of these in the skeleton's categories.
        declared: ids of all categories.
        faults: what nobody can take.
        taken: what was not as COCO has it, but beyond doubt.
    """

    content: Row
    path: Path = field(default_factory=Path)
    skeleton: Skeleton | None = None
    images: dict[int, int] = field(default_factory=dict)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)
    block_of: dict[int, int] = field(default_factory=dict)
    declared: list[int] = field(default_factory=list)
    faults: list[Issue] = field(default_factory=list)
    taken: list[Issue] = field(default_factory=list)

    def refuse_faults(self, name: str, besides: Container[str] = ()) -> None:
        """Stops at the first fault.

        Args:
            name: of the file, for the message.
            besides: checks that don't matter.

        Raises:
            DataError: there is one.
        """
        faults = [fault for fault in self.faults if fault.check not in besides]
        if faults:
            more = f" ({len(faults) - 1} more: scripts/validate_annotations.py lists them, --fix repairs many.)"
            raise DataError(f"{name}: {faults[0].message}{more if len(faults) > 1 else ''}")

    def file_name(self, image: int) -> str:
        """``file_name`` of an image, whatever it is."""
        return str(self.content["images"][image].get("file_name"))

    def category(self) -> Row:
        """The first with the skeleton's keypoints."""
        return next(row for row in self.content["categories"] if row.get("id") == self.merged[0])

    @property
    def parts(self) -> list[AnnotationFile]:
        """The same file with the people of each of the skeleton's categories only."""
        if self.skeleton is None or not self.skeleton.categories:
            return [self]
        return [
            replace(
                self, skeleton=skeleton, people=[person for person in self.people if person.block == block],
                merged=[key for key in self.merged if self.block_of[key] == block],
            )
            for block, skeleton in enumerate(self.skeleton.parts)
        ]  # fmt: skip

    @cached_property
    def by_image(self) -> dict[int, list[Person]]:
        """People of each image that has some."""
        groups: dict[int, list[Person]] = {}
        for person in self.people:
            groups.setdefault(person.image, []).append(person)
        return groups
