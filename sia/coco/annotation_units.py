"""Whether coordinates of an annotation file are pixels, and boxes x y width height: told by the file as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sia.coco.annotation_file import Person, Remark
from sia.coco.annotation_values import Box

LEAST_SIDE = 17
"""Pixels; in smaller images, a person may well lie within the first pixel."""
MANY = 20
"""So many people, none of whom is beyond 100 px of images that are `LARGE`, are in percent, it seems."""
LARGE = 200
SAMPLE = 10_000
"""Boxes and people that are looked at."""


def check_units(
    boxes: Sequence[Box],
    people: Sequence[Person],
    sizes: Sequence[tuple[int, int] | None],
    taken: list[Remark],
) -> list[Remark]:
    """Faults; what only seems so goes to ``taken``.

    Args:
        boxes: as the file gives them, without those that were made of joints.
        people: all of them.
        sizes: width and height of the images.
        taken: gets a remark more.
    """
    boxes, people = boxes[:SAMPLE], people[:SAMPLE]
    sides = [min(size) for size in sizes if size is not None]
    if not people or not sides or min(sides) < LEAST_SIDE:
        return []
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    joints = [np.array(person.joints, np.float64).reshape(-1, 3) for person in people if person.joints]
    points = np.concatenate([rows[rows[:, 2] > 0, :2] for rows in joints]) if joints else np.zeros((0, 2))
    shares = {"boxes": _within(corners, 1.0), "labelled joints": _within(points, 1.0)}
    for what, inside in shares.items():
        if len(inside) and inside.mean() > 0.5:
            message = f"{int(inside.sum())} of {len(inside)} {what} lie between 0 and 1, as fractions of the image."
            return [Remark("units", f"{message} Give pixels: multiply by width and height.")]
    everything = np.concatenate([corners[:, :2] + corners[:, 2:], points])
    if len(people) >= MANY and min(sides) >= LARGE and 50 < everything.max() <= 100:
        taken.append(
            Remark(
                "units-percent",
                f"no coordinate of {len(people)} people is above 100, as if they were in percent: taken as pixels.",
            )
        )
    _check_corners(people, sizes, taken)
    return []


def _within(values: np.ndarray, most: float) -> np.ndarray:
    return np.asarray(((values >= 0) & (values <= most)).all(axis=1))


def _check_corners(people: Sequence[Person], sizes: Sequence[tuple[int, int] | None], taken: list[Remark]) -> None:
    """Boxes that leave the image as x y width height, and all of which fit as x1 y1 x2 y2."""
    rows = [(*person.box, *size) for person in people if (size := sizes[person.image]) is not None]
    if not rows:
        return
    boxes, limits = np.split(np.array(rows, np.float64), [4], axis=1)
    fits = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= limits + 1).all()
    leaves = (boxes[:, :2] + boxes[:, 2:] > limits + 1).any(axis=1)
    if fits and leaves.mean() > 1 / 3:
        taken.append(
            Remark(
                "bbox-corners",
                f"{int(leaves.sum())} of {len(boxes)} boxes leave their image, and all fit "
                "as x1 y1 x2 y2: taken as x y width height, as COCO has it.",
            )
        )
