"""Moving synthetic people in 3D: strides, and smooth ways between sampled poses."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator

from datasets.synthetic.human.body import FRAME, LIMITS, SIDES, Pose, Shape, limited, pose_frames
from datasets.synthetic.human.head import FACE_POINTS
from datasets.synthetic.human.pose import sample_action
from datasets.synthetic.rendering.primitives import Array

_SIDED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
ANGLES = tuple(
    name
    for part in LIMITS
    for name in ([f"{side}_{part}" for side in SIDES] if part.split("_")[0] in _SIDED else [part])
)
"""Names of a pose's angles, in the order of a motion's columns."""

_FRAMES = [
    FRAME[name]
    for name in (
        "pelvis", "right_thigh", "right_shank", "right_foot", "left_thigh", "left_shank", "left_foot", "chest", "neck",
        "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    )
]  # fmt: skip
"""Those that begin at a joint of Human3.6M."""
_OF_BODY = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16]
_OF_HEAD = [9, 17, 18, 19, 20, 10]
"""Places of nose, left and right eye, left and right ear, and the top of the head."""


def sample_motion(rng: Generator, shape: Shape, seconds: float, rate: float) -> Array:
    """A motion of one person.

    Args:
        rng: draws it.
        shape: the body.
        seconds: its length.
        rate: frames a second.

    Returns:
        (T, 21, 3) joints in Human3.6M's order (`sia.lifting.skeleton.JOINTS`), then left and right eye and ear; metres
        with y up, the middle of the hips at the origin.
    """
    moments = np.arange(round(seconds * rate)) / rate
    angles = _stride(rng, moments) if rng.random() < 0.3 else _between_poses(rng, moments)
    yaw = rng.uniform(0, 360) + _wander(rng, moments, 40)
    if rng.random() < 0.15:  # a turn on the spot, a roll, a cartwheel
        yaw = yaw + rng.normal(0, 180) * moments
    if rng.random() < 0.07:
        angles[:, ANGLES.index(str(rng.choice(["pitch", "roll"])))] += rng.normal(0, 250) * moments
    points = np.empty((len(moments), 21, 3))
    for i, row in enumerate(angles):
        rotations, origins = pose_frames(shape, limited(dict(zip(ANGLES, row.tolist(), strict=True))), float(yaw[i]))
        head = rotations[FRAME["head"]]
        face = np.array([*FACE_POINTS, (0.0, 1.0, 0.0)]) * shape.head @ head.T + origins[FRAME["head"]]
        points[i, _OF_BODY], points[i, _OF_HEAD] = origins[_FRAMES], face
    return points


def _row(pose: Pose) -> list[float]:
    return [pose.get(name, 0.0) for name in ANGLES]


def _between_poses(rng: Generator, moments: Array) -> Array:
    """Through a few poses, often to and fro as in exercises; (T, angles)."""
    pool = np.array([_row(sample_action(rng).pose) for _ in range(rng.integers(1, 5))])
    usual = rng.uniform(0.25, 1.2)
    keys, times = [pool[0]], [0.0]
    while times[-1] <= moments[-1] + 1:
        parts = rng.random(len(ANGLES)) < rng.uniform(0.3, 1.0)  # what moves at once
        goal = np.where(parts, pool[rng.integers(len(pool))], keys[-1])
        keys.append(goal + rng.normal(0, 4, len(ANGLES)))
        times.append(times[-1] + usual * rng.uniform(0.6, 1.6))
    return np.asarray(PchipInterpolator(times, np.array(keys))(moments))


def _stride(rng: Generator, moments: Array) -> Array:
    """Walking or running, or on the spot; (T, angles). Limbs of opposite sides swing together."""
    run = rng.random() < 0.3
    cycle = rng.uniform(0.6, 0.85) if run else rng.uniform(0.9, 1.5)
    phase = 2 * np.pi * moments / cycle + rng.uniform(0, 6.3)
    reach, bend = (rng.normal(38, 7), rng.normal(95, 18)) if run else (rng.normal(22, 5), rng.normal(52, 10))
    ahead, arm = (rng.normal(12, 5), rng.normal(40, 12)) if run else (rng.normal(6, 4), abs(rng.normal(22, 10)))
    pose = sample_action(rng).pose if rng.random() < 0.4 else {}  # whose arms are busy with something else
    angles = np.tile(_row(pose), (len(moments), 1))
    columns = {name: angles[:, i] for i, name in enumerate(ANGLES)}
    for name, spread in (("bend", 6.0), ("lean", 3.0), ("turn", 3.0), ("pitch", 4.0), ("roll", 2.0)):
        columns[name][:] = rng.normal(0, spread)
    columns["turn"] += rng.normal(6, 3) * np.sin(phase)
    columns["pitch"] += 8.0 if run else 1.0
    elbow, swing = rng.normal(90, 15) if run else rng.normal(25, 12), rng.normal(8, 6)
    for side, sign in SIDES.items():
        own = phase + (0 if sign > 0 else np.pi)
        flight = np.clip(np.sin(own - 3.5), 0, None) ** 1.5  # the leg comes forward with a bent knee
        columns[f"{side}_hip_raise"][:] = ahead + reach * np.cos(own)
        columns[f"{side}_hip_swing"][:], columns[f"{side}_hip_twist"][:] = rng.normal(4, 3), rng.normal(6, 6)
        columns[f"{side}_knee"][:] = rng.normal(8, 4) + bend * flight + 12 * np.clip(np.sin(own + 0.8), 0, None)
        tip = columns["pitch"] - columns[f"{side}_hip_raise"] + columns[f"{side}_knee"]
        columns[f"{side}_ankle"][:] = 0.8 * tip
        if not pose:
            columns[f"{side}_shoulder_raise"][:] = rng.normal(4, 4) - arm * np.cos(own)
            columns[f"{side}_shoulder_swing"][:], columns[f"{side}_shoulder_twist"][:] = swing, rng.normal(20, 12)
            columns[f"{side}_elbow"][:] = elbow - 0.4 * arm * np.cos(own)
    return angles


def _wander(rng: Generator, moments: Array, spread: float) -> Array:
    """A slow random way from 0."""
    times = np.arange(0, moments[-1] + 3, 1.5)
    return np.asarray(PchipInterpolator(times, np.cumsum(rng.normal(0, spread, len(times))))(moments))
