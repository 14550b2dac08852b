"""What a COCO keypoint file says, as every reader takes it: its people, its faults, and what was taken for right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sia.coco.annotation_values import Box
from sia.errors import DataError
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]

OF_IMAGES = ("image-name", "image-size-missing")
"""Faults that only matter to who opens the images."""


class Remark(NamedTuple):
    """Something about one place of a file.

    Attributes:
        check: its kind; one of `datasets.validation.CHECKS`.
        message: what it is, with the values, and what to do about it; the place is the subject of the sentence.
        image: index of the image.
        row: index of the annotation.
        joints: indices of keypoints.
    """

    check: str
    message: str
    image: int | None = None
    row: int | None = None
    joints: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """One annotation of a category with the skeleton's keypoints, of an image that is there; crowds as well.

    Attributes:
        row: index in ``annotations``.
        image: index in ``images``.
        box: x, y, width, height in pixels; width and height above 0.
        joints: x, y, v of K keypoints, flat; empty where it has none. v is 0, 1 or 2.
        area: in pixels squared, above 0.
        crowd: whether it is a crowd region.
    """

    row: int
    image: int
    box: Box
    joints: list[float]
    area: float
    crowd: bool


@dataclass
class AnnotationFile:
    """What a file says.

    Attributes:
        content: with the right values where others were written; rows that were right are the same objects.
        skeleton: of its people; None where the categories can't be used.
        images: index in ``images`` by id.
        sizes: width and height by index in ``images``; None where they are faulty.
        people: in the order of the file, without those that have faults or nothing to see.
        merged: ids of the categories with the skeleton's keypoints.
        declared: ids of all categories.
        faults: what nobody can take.
        taken: what was not as COCO has it, but beyond doubt.
    """

    content: Row
    skeleton: Skeleton | None = None
    images: dict[int, int] = field(default_factory=dict)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)
    declared: list[int] = field(default_factory=list)
    faults: list[Remark] = field(default_factory=list)
    taken: list[Remark] = field(default_factory=list)

    def refuse_faults(self, name: str, besides: Container[str] = ()) -> None:
        """Stops at the first fault.

        Args:
            name: of the file, for the message.
            besides: checks that don't matter.

        Raises:
            DataError: there is one.
        """
        fault = next((fault for fault in self.faults if fault.check not in besides), None)
        if fault is not None:
            more = sum(other.check not in besides for other in self.faults) - 1
            rest = f" ({more} more: scripts/validate_annotations.py lists them, --fix mends many.)" if more else ""
            raise DataError(f"{name}: {self.place(fault)}{fault.message}{rest}")

    def place(self, remark: Remark) -> str:
        """The subject of a remark's message; empty for the file as a whole."""
        if remark.row is not None:
            key = self.content["annotations"][remark.row].get("id")
            return f"annotation {key} " if type(key) is int else f"annotations[{remark.row}] "
        if remark.image is not None:
            key = self.content["images"][remark.image].get("id")
            return f"image {key} " if type(key) is int else f"images[{remark.image}] "
        return ""

    def counts(self) -> dict[str, int]:
        """How often what was taken, by check."""
        return dict(Counter(remark.check for remark in self.taken))
