"""Angles at the joints of people, as seen in the image: 180 degrees are a straight limb."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sia.errors import ConfigError, unknown
from sia.people import People
from sia.skeletons.skeleton import Skeleton

Floats = NDArray[np.float64]
Triples = dict[str, tuple[int, int, int]]
"""Names of angles, and the keypoints of each: that in the middle is the joint."""

JOINTS = {
    "elbow": ("shoulder", "elbow", "wrist"),
    "shoulder": ("elbow", "shoulder", "hip"),
    "hip": ("shoulder", "hip", "knee"),
    "knee": ("hip", "knee", "ankle"),
}
"""Angles with a name of their own, and their keypoints without the side."""

_SIDES = ("", "left_", "right_")


def included_angle(first: Floats, joint: Floats, last: Floats) -> Floats:
    """Degrees, 0 to 180, between the ways from a joint to two points; all (..., 2). NaN where one is the joint."""
    a, b = first - joint, last - joint
    cross, dot = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(-1)
    angle = np.degrees(np.arctan2(np.abs(cross), dot))
    return np.asarray(np.where((a.any(-1)) & (b.any(-1)), angle, np.nan))


def find_angles(skeleton: Skeleton, wanted: str) -> Triples:
    """The angles that a user names.

    Args:
        skeleton: of the model.
        wanted: ``all``, or names with commas between them: ``left_knee``, ``knee`` for both sides, or three keypoints
            such as ``left_hip-left_knee-left_ankle``, for both sides without them.

    Raises:
        ConfigError: the skeleton has no such angle.
    """
    known = {name: triple for part in JOINTS for name, triple in _both_sides(skeleton, part, JOINTS[part])}
    if wanted == "all" and known:
        return known
    found: Triples = {}
    for name in map(str.strip, wanted.split(",")):
        parts = name.split("-")  # which names of keypoints may have in them
        cuts = combinations(range(1, len(parts)), 2)
        triples = [tuple(map("-".join, (parts[:i], parts[i:j], parts[j:]))) for i, j in cuts]
        own = {key: value for triple in triples for key, value in _both_sides(skeleton, name, triple)}
        if not (new := own or {side + name: known[side + name] for side in _SIDES if side + name in known}):
            names = ", ".join(skeleton.names)
            complaint = unknown("Angle", name, list(known)) if known else f"Angle {name} is unknown."
            raise ConfigError(f"{complaint} Or name three keypoints, FIRST-JOINT-LAST, of: {names}.")
        found |= new
    return found


def _both_sides(skeleton: Skeleton, name: str, keypoints: Sequence[str]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for side in _SIDES:
        if all(side + keypoint in skeleton.names for keypoint in keypoints):
            first, joint, last = (skeleton.names.index(side + keypoint) for keypoint in keypoints)
            yield side + name, (first, joint, last)


def measure_angles(people: People, angles: Triples, kpt_thresh: float) -> Floats:
    """(N, A) degrees; NaN where a keypoint is less confident than `kpt_thresh`, in [0, 1]."""
    triples = np.array(list(angles.values())).reshape(-1, 3)
    points = people.keypoints.astype(np.float64)[:, triples]
    seen = (people.confidences[:, triples] >= kpt_thresh).all(-1)
    return np.where(seen, included_angle(*np.moveaxis(points, 2, 0)), np.nan)
