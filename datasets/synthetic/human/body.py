"""One articulated body: proportions, joint limits and forward kinematics.

Body frame: x to the person's left, y up, z the way the person faces; metres. Angles of a pose are in degrees.
Lengths follow Drillis and Contini's segment lengths as fractions of stature (Winter, "Biomechanics and Motor
Control of Human Movement", section 4.1), with bigger heads and shorter legs for children.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from datasets.synthetic.rendering.primitives import Array, Point, rotation

Pose: TypeAlias = dict[str, float]
"""Degrees by angle name; a missing name is 0. Names with a side begin with ``left_`` or ``right_``."""

FRAMES = (
    "pelvis", "abdomen", "chest", "neck", "head",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shank", "left_foot", "right_thigh", "right_shank", "right_foot",
)  # fmt: skip
"""Parents come before children."""

FRAME = {name: index for index, name in enumerate(FRAMES)}

_PARENTS = (0, 1, 2, 3, 2, 5, 6, 2, 8, 9, 0, 11, 12, 0, 14, 15)
"""Of every frame but the pelvis."""

SIDES = {"left": 1.0, "right": -1.0}
"""With the sign of x on that side."""

LIMITS: dict[str, tuple[float, float]] = {
    "bend": (-30, 80), "lean": (-35, 35), "turn": (-50, 50),
    "nod": (-50, 55), "tilt": (-35, 35), "look": (-75, 75),
    "shoulder_raise": (-55, 178), "shoulder_swing": (-45, 125), "shoulder_twist": (-70, 90),
    "elbow": (0, 148), "wrist": (-60, 60),
    "hip_raise": (-30, 128), "hip_swing": (-25, 75), "hip_twist": (-40, 55),
    "knee": (0, 150), "ankle": (-50, 30),
    "pitch": (-np.inf, np.inf), "roll": (-np.inf, np.inf),
}  # fmt: skip
"""Degrees. ``raise`` lifts a limb from hanging down, towards the direction ``swing`` (0 forward, 90 sideways,
negative across the body); ``twist`` turns it about its own axis (arm: inwards, leg: outwards). ``pitch``
and ``roll`` tip the whole body (forwards, to its left); they belong to no joint."""

Joint: TypeAlias = tuple[Point, Array]
"""Origin (metres) and rotation (3, 3) of a frame in its parent's."""


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
    child, woman = rng.random() < 1 / 6, rng.random() < 0.5
    youth = rng.uniform(0.3, 1.0) if child else 0.0
    adult = rng.normal(1.64, 0.06) if woman else rng.normal(1.77, 0.07)
    height = float(np.clip(adult, 1.45, 2.0)) * (1 - 0.48 * youth)
    head = height * (0.13 + 0.05 * youth) * rng.uniform(0.97, 1.05)
    leg = 1 - 0.12 * youth + rng.normal(0, 0.02)
    girth = float(np.clip(rng.lognormal(0.0, 0.12), 0.82, 1.35)) * (0.93 if woman else 1.0)
    arm = 1 - 0.06 * youth
    return Shape(
        height=height,
        head=head,
        torso=0.293 * height,
        neck=0.044 * height * (1 - 0.4 * youth),
        shoulder=height * (0.105 if woman else 0.115) * (1 - 0.06 * youth),
        hip=0.064 * height,
        upper_arm=0.176 * height * arm,
        forearm=0.15 * height * arm,
        hand=0.1 * height * arm,
        thigh=0.243 * height * leg,
        shank=0.24 * height * leg,
        foot=0.145 * height,
        girth=girth,
        belly=rng.uniform(0.85, 1.3) * girth**0.5,
        bust=0.035 * height if woman and not child else 0.012 * height,
        woman=woman,
        child=child,
    )


def limited(pose: Pose) -> Pose:
    """The pose with every joint inside `LIMITS`."""
    result = {}
    for name, angle in pose.items():
        low, high = LIMITS[name.removeprefix("left_").removeprefix("right_")]
        result[name] = min(max(angle, low), high)
    return result


def pose_frames(shape: Shape, pose: Pose, yaw: float) -> tuple[Array, Array]:
    """Forward kinematics with the middle of the hips at the origin.

    Args:
        shape: the body.
        pose: degrees; see `LIMITS`.
        yaw: degrees; 0 faces world +z, positive turns to the person's left.

    Returns:
        Rotations (17, 3, 3), body to world, and origins (17, 3) in metres, by `FRAMES`.
    """
    local = _trunk(shape, pose)
    for limb in (_arm, _leg):
        for side, sign in SIDES.items():
            local += limb(shape, {name: pose.get(f"{side}_{name}", 0.0) for name in LIMITS}, sign)
    rotations, origins = np.empty((17, 3, 3)), np.zeros((17, 3))
    rotations[0] = _turned(yaw, -pose.get("roll", 0.0), pose.get("pitch", 0.0))
    for i, (parent, (offset, turn)) in enumerate(zip(_PARENTS, local, strict=True), start=1):
        origins[i] = origins[parent] + rotations[parent] @ offset
        rotations[i] = rotations[parent] @ turn
    return rotations, origins


def _trunk(shape: Shape, pose: Pose) -> list[Joint]:
    """Abdomen, chest, neck and head share the bend of the spine and of the neck."""
    half = {name: pose.get(name, 0.0) / 2 for name in LIMITS}
    spine = _turned(half["turn"], -half["lean"], half["bend"])
    neck = _turned(half["look"], -half["tilt"], half["nod"])
    return [
        ((0.0, 0.0, 0.0), spine),
        ((0.0, 0.42 * shape.torso, 0.0), spine),
        ((0.0, 0.58 * shape.torso, 0.0), neck),
        ((0.0, shape.neck, 0.01 * shape.height), neck),
    ]


def _arm(shape: Shape, angles: Pose, sign: float) -> list[Joint]:
    """Raised arms take their shoulder along."""
    lift = 0.0004 * max(0.0, angles["shoulder_raise"] - 45)
    high = 0.58 * shape.torso - 0.022 * shape.height + lift * shape.height
    return [
        ((sign * shape.shoulder * (1 - lift), high, 0.0), _ball(angles, "shoulder", sign, -sign)),
        ((0.0, -shape.upper_arm, 0.0), rotation(0, -angles["elbow"])),
        ((0.0, -shape.forearm, 0.0), rotation(0, -angles["wrist"])),
    ]


def _leg(shape: Shape, angles: Pose, sign: float) -> list[Joint]:
    return [
        ((sign * shape.hip, 0.0, 0.0), _ball(angles, "hip", sign, sign)),
        ((0.0, -shape.thigh, 0.0), rotation(0, angles["knee"])),
        ((0.0, -shape.shank, 0.0), rotation(0, -angles["ankle"])),
    ]


def _ball(angles: Pose, joint: str, outwards: float, twisting: float) -> Array:
    """The shortest swing of a hanging limb to its direction, after a twist about its own axis."""
    swing, twist = outwards * angles[f"{joint}_swing"], twisting * angles[f"{joint}_twist"]
    return rotation(1, swing) @ rotation(0, -angles[f"{joint}_raise"]) @ rotation(1, twist - swing)


def _turned(y: float, z: float, x: float) -> Array:
    return rotation(1, y) @ rotation(2, z) @ rotation(0, x)
