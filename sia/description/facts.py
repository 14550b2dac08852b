"""Measures everything that can be said of one person.

The idea of such codes is PoseScript's (Delmas et al., ECCV 2022, section 3.2). There they are measured in space; here
in the image, so that angles are projected ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sia.description.body import Body, probability
from sia.description.fact import Fact, Value
from sia.description.posture import facing, posture
from sia.motion.angles import JOINTS, included_angle

SIDES = ("left", "right")
ANGLES = {part: JOINTS[part] for part in ("elbow", "knee")}
LIMBS = {
    "upper arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "thigh": ("hip", "knee"),
    "lower leg": ("knee", "ankle"),
}  # fmt: skip
ABOVE = (("wrist", "nose"), ("wrist", "shoulder"), ("wrist", "hip"), ("elbow", "shoulder"), ("knee", "hip"))
"""One side's keypoint and the same side's, or the middle's."""
ACROSS = ("wrist", "ankle")
"""Left and right ones are compared with each other."""
CLOSE = (("wrist", "nose"), ("wrist", "hip"), ("wrist", "knee"), ("wrist", "shoulder"))
GROUPS = {"legs": ("knee", "ankle"), "arms": ("elbow", "wrist")}
DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")

STRAIGHT, BENT = 155.0, 140.0
"""Degrees from which a joint is straight, and up to which it is bent; between them nothing is said."""
_STATED = 0.1
"""Trunk lengths that one keypoint must be above another."""
_NEAR = 0.3
"""Trunk lengths within which two keypoints are close."""
_SHORT = 0.15
"""Trunk lengths below which a limb points at the camera, and has neither angle nor direction."""
_ANGLE_ERROR = 20.0
"""Degrees: the confidence of an angle is the probability that it is off by less."""
_LIKE = 20.0
"""Degrees up to which two joints are bent alike."""
_TILT = 8.0
"""Degrees up to which shoulders are level."""


def measure(body: Body, person: int) -> list[Fact]:
    """All facts of one person with a confidence of 0.5 or more, in a fixed order.

    Args:
        body: the person.
        person: number in the image, from 1 on; begins every id.
    """
    facts = [*_whole(body), *_angles(body), *_directions(body), *_relations(body), *_contacts(body), *_symmetry(body)]
    return [fact for entry in facts if (fact := _fact(person, entry)).confidence >= 0.5]


_Entry = tuple[str, str, str, Value, str, float, tuple[str, ...]]
"""Kind, subject, object, value, unit, confidence, joints."""


def _fact(person: int, entry: _Entry) -> Fact:
    kind, subject, other, value, unit, confidence, joints = entry
    parts = [f"p{person}", kind, *(part.replace(" ", "_") for part in (subject, other) if part)]
    return Fact(".".join(parts), kind, subject, other, value, unit, round(confidence, 3), joints)


def spoken(name: str) -> str:
    """``left_wrist`` -> ``left wrist``; the nose stands for the face."""
    return "face" if name == "nose" else name.replace("_", " ")


def _whole(body: Body) -> Iterator[_Entry]:
    found = tuple(body.found)
    yield "seen", "person", "", len(found), "keypoints", 1.0, found
    for kind, answer in (("posture", posture(body)), ("facing", facing(body))):
        if answer is not None:
            yield kind, "person", "", answer.label, "word", answer.confidence, answer.joints
    for group, parts in GROUPS.items():
        names = tuple(f"{side}_{part}" for side in SIDES for part in parts)
        if body.knows(*names) and found and not any(body.has(name) for name in names):
            yield "hidden", group, "", "not found", "word", 1.0, names


def _angles(body: Body) -> Iterator[_Entry]:
    for subject, names in _chains(ANGLES):
        if (measured := _angle(body, names)) is None:
            continue
        angle, error = measured
        yield "angle", subject, "", round(angle), "degrees", 2 * probability(_ANGLE_ERROR, error) - 1, names
        if angle >= STRAIGHT:
            yield "bend", subject, "", "straight", "word", probability(angle - STRAIGHT + 10, error), names
        elif angle <= BENT:
            yield "bend", subject, "", "bent", "word", probability(BENT - angle + 10, error), names


def _chains(table: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What each entry is called on either side, and the names of its keypoints."""
    for part, chain in table.items():
        for side in SIDES:
            yield f"{side} {part}", tuple(f"{side}_{name}" for name in chain)


def _angle(body: Body, names: tuple[str, ...]) -> tuple[float, float] | None:
    """Projected angle and its expected error, in degrees; None where a part is missing or foreshortened."""
    if not body.has(*names):
        return None
    first, middle, last = (body.point(name) for name in names)
    lengths = math.dist(first, middle), math.dist(last, middle)
    if min(lengths) < _SHORT * body.trunk:
        return None
    ends = (body.error(names[0], names[1]) / lengths[0], body.error(names[1], names[2]) / lengths[1])
    return float(included_angle(first, middle, last)), math.degrees(math.hypot(*ends))


def _directions(body: Body) -> Iterator[_Entry]:
    for subject, names in _chains(LIMBS):
        if not body.has(*names):
            continue
        way = body.point(names[1]) - body.point(names[0])
        length = float(np.linalg.norm(way))
        if length < _SHORT * body.trunk:
            continue
        turn = math.degrees(math.atan2(way[1], way[0])) % 360
        sector = round(turn / 45) % 8
        off = abs((turn - 45 * sector + 180) % 360 - 180)
        error = math.degrees(body.error(*names) / length)
        sure = probability(22.5 - off, error) + probability(22.5 + off, error) - 1
        yield "direction", subject, "", DIRECTIONS[sector], "word", sure, names


def _relations(body: Body) -> Iterator[_Entry]:
    for part, other in ABOVE:
        for side in SIDES:
            names = f"{side}_{part}", other if other == "nose" else f"{side}_{other}"
            yield from _compare(body, "above", names, axis=1)
    for part in ACROSS:
        names = f"left_{part}", f"right_{part}"
        yield from _compare(body, "above", names, axis=1)
        yield from _compare(body, "left_of", names, axis=0)


def _compare(body: Body, kind: str, names: tuple[str, str], axis: int) -> Iterator[_Entry]:
    """Says which of the two comes first on an axis, by at least `_STATED`."""
    if not body.has(*names):
        return
    apart = float(body.point(names[1])[axis] - body.point(names[0])[axis])
    first, second = names if apart > 0 else (names[1], names[0])
    share = abs(apart) / body.trunk
    if share >= _STATED:
        sure = probability(abs(apart), body.error(*names))
        yield kind, spoken(first), spoken(second), round(share, 2), "trunk lengths", sure, (first, second)


def _contacts(body: Body) -> Iterator[_Entry]:
    pairs = [(f"{side}_{a}", b if b == "nose" else f"{end}_{b}") for a, b in CLOSE for side in SIDES for end in SIDES]
    for names in [*dict.fromkeys(pairs), ("left_wrist", "right_wrist"), ("left_ankle", "right_ankle")]:
        if not body.has(*names):
            continue
        apart = float(np.linalg.norm(body.point(names[0]) - body.point(names[1])))
        if apart < _NEAR * body.trunk:
            sure = probability(1.3 * _NEAR * body.trunk - apart, body.error(*names))
            share = round(apart / body.trunk, 2)
            yield "close", spoken(names[0]), spoken(names[1]), share, "trunk lengths", sure, names


def _symmetry(body: Body) -> Iterator[_Entry]:
    for group, part in (("arms", "elbow"), ("legs", "knee")):
        chains = [tuple(f"{side}_{name}" for name in ANGLES[part]) for side in SIDES]
        left, right = (_angle(body, chain) for chain in chains)
        if left is not None and right is not None and abs(left[0] - right[0]) <= _LIKE:
            margin = 1.5 * _LIKE - abs(left[0] - right[0])
            sure = probability(margin, math.hypot(left[1], right[1]))
            yield "symmetric", group, "", "symmetric", "word", sure, chains[0] + chains[1]
    shoulders = ("left_shoulder", "right_shoulder")
    if body.has(*shoulders):
        way = body.point(shoulders[1]) - body.point(shoulders[0])
        length = float(np.linalg.norm(way))
        if length > 2 * _SHORT * body.trunk:
            tilt = math.degrees(math.asin(min(1.0, abs(float(way[1])) / length)))
            if tilt <= _TILT:
                error = math.degrees(body.error(*shoulders) / length)
                yield "level", "shoulders", "", "level", "word", probability(1.5 * _TILT - tilt, error), shoulders
