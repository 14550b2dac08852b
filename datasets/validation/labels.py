"""Checks of one person's joints, box and area against each other and against the image's border."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasets.validation.annotations import Annotations, Floats, Person
from datasets.validation.issue import Issue
from sia.coco.annotation_people import OUTSIDE_TOLERANCE
from sia.skeletons.skeleton import Skeleton

BOX_MARGIN = 1.1
"""Seen joints may leave the box by this factor about its centre. Hidden ones are free: boxes hold what is seen."""
LEAST_SHARE = 0.05
"""The least fraction of its box that a person covers."""
SAME_POINT = 0.01
"""Joints nearer than this fraction of the person's size are at one point; at least a tenth of a pixel."""


def check_labels(data: Annotations) -> Iterator[Issue]:
    """All findings about single people; x, y in pixels of the image."""
    for person in data.people:
        yield from _box(data, person)
        yield from _crowd(person)
        if data.skeleton is not None and person.joints is not None:
            yield from _joints(data, person, data.skeleton)


def _box(data: Annotations, person: Person) -> Iterator[Issue]:
    size = data.size(person.image)
    x, y, width, height = person.box
    if size is not None:
        out = max(-x, -y, x + width - size[0], y + height - size[1])
        if out > OUTSIDE_TOLERANCE:
            wholly = ", wholly" if min(x + width, y + height, size[0] - x, size[1] - y) <= 0 else ""
            yield _of(person, "bbox-outside-image", f"The box leaves the image by {out:.1f} px{wholly}.")
    share = person.area / (width * height)
    if not person.crowd and not LEAST_SHARE <= share <= 1:
        yield _of(person, "area-of-box", f"The area is {100 * share:.3g} % of the box.")


def _crowd(person: Person) -> Iterator[Issue]:
    labelled = int(person.labelled.sum())
    if person.crowd and labelled:
        yield _of(person, "crowd-with-keypoints", f"A crowd region with {labelled} labelled joints.")


def _joints(data: Annotations, person: Person, skeleton: Skeleton) -> Iterator[Issue]:
    assert person.joints is not None
    points, labelled = person.joints[:, :2], person.labelled
    seen = person.joints[:, 2] == 2
    at_origin = labelled & (points == 0).all(axis=1)
    placed = ~labelled & (points != 0).any(axis=1)
    outside = labelled & _outside_image(points, data.size(person.image))
    for check, mask, text in (
        ("joint-at-origin", at_origin, "labelled at (0, 0)"),
        ("unlabelled-with-place", placed, "v = 0, but x, y are not 0"),
        ("joint-outside-image", outside, f"outside the image of {_size_text(data.size(person.image))}"),
        ("joint-outside-box", seen & ~outside & ~at_origin & _outside_box(points, person), "outside the box"),
        ("joints-at-one-point", _crowded(person) & ~at_origin, "at one point"),
    ):
        if mask.any():
            indices = tuple(np.flatnonzero(mask).tolist())
            yield Issue(check, f"{_names(skeleton, indices)}: {text}.", person.image, person.row, indices)


def _of(person: Person, check: str, message: str) -> Issue:
    return Issue(check, message, person.image, person.row)


def _names(skeleton: Skeleton, joints: tuple[int, ...], most: int = 4) -> str:
    names = [skeleton.names[joint] for joint in joints]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _size_text(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]} px" if size else "unknown size"


def _outside_image(points: Floats, size: tuple[int, int] | None) -> np.ndarray:
    if size is None:
        return np.zeros(len(points), bool)
    beyond = (points < -OUTSIDE_TOLERANCE) | (points > np.array(size) + OUTSIDE_TOLERANCE)
    return np.asarray(beyond.any(axis=1))


def _outside_box(points: Floats, person: Person) -> np.ndarray:
    half = person.box[2:] / 2
    reach = np.maximum(half * BOX_MARGIN, half + OUTSIDE_TOLERANCE)
    return np.asarray((np.abs(points - person.box[:2] - half) > reach).any(axis=1))


def _crowded(person: Person) -> np.ndarray:
    """(K,) labelled joints that share their point with another one."""
    assert person.joints is not None
    points = np.where(person.labelled[:, None], person.joints[:, :2], np.nan)
    near = max(SAME_POINT * person.area**0.5, 0.1)
    same = np.linalg.norm(points[:, None] - points, axis=-1) < near
    return np.asarray(same.sum(axis=1) > 1)
