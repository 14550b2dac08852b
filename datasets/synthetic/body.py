"""One articulated body: proportions, joint limits and forward kinematics.

Body frame: x to the person's left, y up, z the way the person faces; metres. Angles of a pose are in degrees.
Lengths follow Drillis and Contini's segment lengths as fractions of stature (Winter, "Biomechanics and Motor
Control of Human Movement", section 4.1), with bigger heads and shorter legs for children.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Pose: TypeAlias = dict[str, float]
"""Degrees by angle name; a missing name is 0. Names with a side begin with ``left_`` or ``right_``."""

FRAMES = (
    "pelvis", "abdomen", "chest", "neck", "head",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shank", "left_foot", "right_thigh", "right_shank", "right_foot",
)  # fmt: skip
"""Parents come before children."""

FRAME = {name: index for index, name in enumerate(FRAMES)}

_PARENTS = (-1, 0, 1, 2, 3, 2, 5, 6, 2, 8, 9, 0, 11, 12, 0, 14, 15)

LIMITS: dict[str, tuple[float, float]] = {
    "bend": (-30, 80), "lean": (-35, 35), "turn": (-50, 50),
    "nod": (-50, 55), "tilt": (-35, 35), "look": (-75, 75),
    "shoulder_raise": (-55, 178), "shoulder_swing": (-45, 125), "shoulder_twist": (-70, 90),
    "elbow": (0, 148), "wrist": (-60, 60),
    "hip_raise": (-30, 128), "hip_swing": (-25, 75), "hip_twist": (-40, 55),
    "knee": (0, 150), "ankle": (-50, 30),
}  # fmt: skip
"""Degrees. ``raise`` lifts a limb from hanging down, towards the direction ``swing`` (0 forward, 90 sideways,
negative across the body); ``twist`` turns it about its own axis (arm: inwards, leg: outwards)."""

_FREE = ("pitch", "roll")
"""How the whole body is tipped (forwards, to its left); no joint, so no limit."""


@dataclass(frozen=True)
class Shape:
    """Lengths in metres, and factors of girth relative to an average build.

    Attributes:
        height: stature.
        head: height of the head.
        torso: hip joints to the base of the neck.
        neck: base of the neck to the base of the skull.
        shoulder, hip: half the distance of the two joints.
        upper_arm, forearm, hand, thigh, shank, foot: lengths; `foot` is heel to toe.
        girth: of limbs and trunk.
        belly: of the waist, on top of `girth`.
        bust: depth of the chest in front, metres.
    """

    height: float
    head: float
    torso: float
    neck: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    foot: float
    girth: float
    belly: float
    bust: float
    woman: bool
    child: bool


def sample_shape(rng: np.random.Generator) -> Shape:
    """A man, a woman or, one time in six, a child."""
    child, woman = bool(rng.random() < 1 / 6), bool(rng.random() < 0.5)
    youth = float(rng.uniform(0.3, 1.0)) if child else 0.0
    adult = rng.normal(1.64, 0.06) if woman else rng.normal(1.77, 0.07)
    height = float(np.clip(adult, 1.45, 2.0)) * (1 - 0.48 * youth)
    head = height * (0.13 + 0.05 * youth) * float(rng.uniform(0.97, 1.05))
    leg = 1 - 0.12 * youth + float(rng.normal(0, 0.02))
    girth = float(np.clip(rng.lognormal(0.0, 0.12), 0.82, 1.35)) * (0.93 if woman else 1.0)
    arm = 1 - 0.06 * youth
    return Shape(
        height=height, head=head, torso=0.293 * height, neck=0.044 * height * (1 - 0.4 * youth),
        shoulder=height * (0.105 if woman else 0.115) * (1 - 0.06 * youth), hip=0.064 * height,
        upper_arm=0.176 * height * arm, forearm=0.15 * height * arm, hand=0.1 * height * arm,
        thigh=0.243 * height * leg, shank=0.24 * height * leg, foot=0.145 * height,
        girth=girth, belly=float(rng.uniform(0.85, 1.3)) * girth ** 0.5,
        bust=0.035 * height if woman and not child else 0.012 * height, woman=woman, child=child,
    )  # fmt: skip


def limited(pose: Pose) -> Pose:
    """The pose with every joint inside `LIMITS`."""
    return {name: _limit(name, angle) for name, angle in pose.items()}


def _limit(name: str, angle: float) -> float:
    if name in _FREE:
        return angle
    low, high = LIMITS[name.removeprefix("left_").removeprefix("right_")]
    return min(max(angle, low), high)


def pose_frames(shape: Shape, pose: Pose, yaw: float) -> tuple[Array, Array]:
    """Forward kinematics with the middle of the hips at the origin.

    Args:
        shape: the body.
        pose: degrees; see `LIMITS`.
        yaw: degrees; 0 faces world +z, positive turns to the person's left.

    Returns:
        Rotations (17, 3, 3), body to world, and origins (17, 3) in metres, by `FRAMES`.
    """
    local = _local_rotations(pose)
    offsets = _rest_offsets(shape, pose)
    rotations, origins = np.empty((17, 3, 3)), np.zeros((17, 3))
    root = _about_y(yaw) @ _about_z(-pose.get("roll", 0.0)) @ _about_x(pose.get("pitch", 0.0))
    rotations[0] = root
    for i in range(1, 17):
        parent = _PARENTS[i]
        origins[i] = origins[parent] + rotations[parent] @ offsets[i]
        rotations[i] = rotations[parent] @ local[i]
    return rotations, origins


def _local_rotations(pose: Pose) -> list[Array]:
    get = pose.get
    spine = _about_y(get("turn", 0) / 2) @ _about_z(-get("lean", 0) / 2) @ _about_x(get("bend", 0) / 2)
    look, tilt, nod = get("look", 0) / 2, get("tilt", 0) / 2, get("nod", 0) / 2
    neck = _about_y(look) @ _about_z(-tilt) @ _about_x(nod)
    arms = [rotation for side in ("left", "right") for rotation in _arm_rotations(pose, side)]
    legs = [rotation for side in ("left", "right") for rotation in _leg_rotations(pose, side)]
    return [np.eye(3), spine, spine, neck, neck, *arms, *legs]


def _arm_rotations(pose: Pose, side: str) -> list[Array]:
    sign = 1.0 if side == "left" else -1.0
    raised, swing, twist, elbow, wrist = (
        pose.get(f"{side}_{name}", 0.0)
        for name in ("shoulder_raise", "shoulder_swing", "shoulder_twist", "elbow", "wrist")
    )
    return [_ball(raised, sign * swing, -sign * twist), _about_x(-elbow), _about_x(-wrist)]


def _leg_rotations(pose: Pose, side: str) -> list[Array]:
    sign = 1.0 if side == "left" else -1.0
    raised, swing, twist, knee, ankle = (
        pose.get(f"{side}_{name}", 0.0) for name in ("hip_raise", "hip_swing", "hip_twist", "knee", "ankle")
    )
    return [_ball(raised, sign * swing, sign * twist), _about_x(knee), _about_x(-ankle)]


def _ball(raised: float, swing: float, twist: float) -> Array:
    """The shortest swing of a hanging limb to its direction, after a twist about its own axis."""
    return _about_y(swing) @ _about_x(-raised) @ _about_y(twist - swing)


def _rest_offsets(shape: Shape, pose: Pose) -> list[tuple[float, float, float]]:
    """Each frame's origin in its parent's frame; raised arms take their shoulder along."""
    low, high = 0.42 * shape.torso, 0.58 * shape.torso
    lift = {side: 0.0004 * max(0.0, pose.get(f"{side}_shoulder_raise", 0.0) - 45) for side in ("left", "right")}
    shoulder_y = high - 0.022 * shape.height
    arms = [
        offset
        for side, sign in (("left", 1.0), ("right", -1.0))
        for offset in (
            (sign * shape.shoulder * (1 - lift[side]), shoulder_y + lift[side] * shape.height, 0.0),
            (0.0, -shape.upper_arm, 0.0),
            (0.0, -shape.forearm, 0.0),
        )
    ]
    legs = [
        offset
        for sign in (1.0, -1.0)
        for offset in ((sign * shape.hip, 0.0, 0.0), (0.0, -shape.thigh, 0.0), (0.0, -shape.shank, 0.0))
    ]
    trunk = [
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, low, 0.0),
        (0.0, high, 0.0),
        (0.0, shape.neck, 0.01 * shape.height),
    ]
    return [*trunk, *arms, *legs]


def _about_x(degrees: float) -> Array:
    c, s = _cos_sin(degrees)
    return np.array(((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)))


def _about_y(degrees: float) -> Array:
    c, s = _cos_sin(degrees)
    return np.array(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))


def _about_z(degrees: float) -> Array:
    c, s = _cos_sin(degrees)
    return np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def _cos_sin(degrees: float) -> tuple[float, float]:
    radians = degrees * (np.pi / 180)
    return float(np.cos(radians)), float(np.sin(radians))
