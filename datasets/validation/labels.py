"""Checks of one person's joints, box and area against each other and against the image's border."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import OUTSIDE_TOLERANCE, AnnotationFile, Issue, Person
from sia.skeletons.skeleton import Skeleton

BOX_MARGIN = 1.1
"""Seen joints may leave the box by this factor about its centre. Hidden ones are free: boxes hold what is seen."""
LEAST_SHARE = 0.05
"""The least fraction of its box that a person covers."""
SAME_POINT = 0.01
"""Joints nearer than this fraction of the person's size are at one point; at least a tenth of a pixel."""


def check_labels(data: AnnotationFile) -> Iterator[Issue]:
    """All findings about single people; x, y in pixels of the image."""
    for person in data.people:
        size = data.sizes[person.image]
        yield from _box(person, size)
        labelled = int(person.labelled.sum())
        if person.crowd and labelled:
            message = f"A crowd region with {labelled} labelled joints."
            yield Issue("crowd-with-keypoints", message, person.image, person.row)
        if data.skeleton is not None:
            yield from _joints(person, size, data.skeleton.parts[person.block])


def _box(person: Person, size: tuple[int, int] | None) -> Iterator[Issue]:
    x, y, width, height = map(float, person.box)
    if size is not None:
        out = max(-x, -y, x + width - size[0], y + height - size[1])
        if out > OUTSIDE_TOLERANCE:
            wholly = ", wholly" if min(x + width, y + height, size[0] - x, size[1] - y) <= 0 else ""
            message = f"The box leaves the image by {out:.1f} px{wholly}."
            yield Issue("bbox-outside-image", message, person.image, person.row)
    share = float(person.area) / width / height
    if not person.crowd and not LEAST_SHARE <= share <= 1:
        yield Issue("area-of-box", f"The area is {100 * share:.3g} % of the box.", person.image, person.row)


def _joints(person: Person, size: tuple[int, int] | None, skeleton: Skeleton) -> Iterator[Issue]:
    points, labelled = person.joints[:, :2], person.labelled
    at_origin = labelled & (points == 0).all(axis=1)
    outside = person.outside(size)
    half = person.box[2:] / 2
    reach = np.maximum(half * BOX_MARGIN, half + OUTSIDE_TOLERANCE)
    outside_box = (np.abs(points - person.box[:2] - half) > reach).any(axis=1)
    for check, mask, text in (
        ("joint-at-origin", at_origin, "labelled at (0, 0)"),
        ("unlabelled-with-place", ~labelled & (points != 0).any(axis=1), "v = 0, but x, y are not 0"),
        ("joint-outside-image", outside, "outside the image of {}x{} px".format(*size or (0, 0))),
        ("joint-outside-box", (person.joints[:, 2] == 2) & ~outside & ~at_origin & outside_box, "outside the box"),
        ("joints-at-one-point", _at_one_point(person) & ~at_origin, "at one point"),
    ):
        joints = tuple(np.flatnonzero(mask).tolist())
        if joints:
            names = ", ".join(skeleton.names[joint] for joint in joints[:4])
            more = f" and {len(joints) - 4} more" if len(joints) > 4 else ""
            yield Issue(check, f"{names}{more}: {text}.", person.image, person.row, joints)


def _at_one_point(person: Person) -> NDArray[np.bool_]:
    """(K,) labelled joints that share their point with another one."""
    points = np.where(person.labelled[:, None], person.joints[:, :2], np.nan)
    near = max(SAME_POINT * person.area**0.5, 0.1)
    same = np.linalg.norm(points[:, None] - points, axis=-1) < near
    return np.asarray(same.sum(axis=1) > 1)
