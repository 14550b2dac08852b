"""Synthetic people that move, as keypoints alone: exact truth for tracking and smoothing.

T: frames, P: people. World frame as in `datasets.synthetic.cast`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.synthetic.body import Array, Pose, Shape, limited, pose_frames, sample_shape
from datasets.synthetic.figure import keypoints_of
from datasets.synthetic.pose import sample_action
from datasets.synthetic.render import Camera, look

_SPEED = 1.3
"""Metres a second of a walker, on average."""
_HOLD = (0.6, 1.6)
"""Seconds between two poses of someone who stays in place."""


@dataclass(frozen=True)
class MovingPeople:
    """A clip.

    Attributes:
        keypoints: (T, P, 17, 3) x, y in pixels and v: 2 inside the image, 0 (with x = y = 0) outside.
        boxes: (T, P, 4) x1, y1, x2, y2: the extent of all keypoints with a margin, clipped; empty when outside.
        rate: frames a second.
        size: height, width of the image.
    """

    keypoints: Array
    boxes: Array
    rate: float
    size: tuple[int, int]


def moving_people(
    seed: int, people: int, seconds: float, rate: float = 25.0, size: tuple[int, int] = (480, 640)
) -> MovingPeople:
    """Walkers who cross in front of each other, and people who change from pose to pose where they are.

    Args:
        seed: the same one gives the same clip.
        people: P.
        seconds: length of the clip.
        rate: frames a second.
        size: height, width in pixels.
    """
    rng = np.random.default_rng((seed, 77))
    height, width = size
    camera = Camera(1.1 * width, (width / 2, height / 2), look(4.0, 0.0), np.array([0.0, 1.6, 0.0]), (0.5, -0.5))
    times = np.arange(round(seconds * rate)) / rate
    tracks = [_walker(rng, seconds) if n % 3 < 2 else _stayer(rng, seconds) for n in range(people)]
    pixels = np.stack([np.stack([camera.project(track(t))[0] for track in tracks]) for t in times])
    boxes = _boxes(pixels, height, width)
    inside = ((pixels >= 0) & (pixels < np.array([width, height]))).all(-1)
    flags = np.where(inside, 2.0, 0.0)[..., None]
    return MovingPeople(np.concatenate([pixels * (flags > 0), flags], axis=-1), boxes, rate, size)


def _walker(rng: np.random.Generator, seconds: float) -> Callable[[float], Array]:
    """Someone who walks through the image, mostly across it."""
    shape, pace, side = sample_shape(rng), float(rng.normal(_SPEED, 0.2)), float(rng.choice((-1, 1)))
    heading = side * float(rng.uniform(60, 100))  # degrees from facing the camera
    depth, middle = float(rng.uniform(3.5, 7.0)), float(rng.uniform(-0.8, 0.8))
    way = np.array([np.sin(np.radians(heading)), 0.0, np.cos(np.radians(heading))])
    start = np.array([middle, 0.0, -depth]) - way * pace * seconds / 2
    steps, phase, swing = float(rng.uniform(0.8, 1.05)), float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(20, 34))
    elbow = float(rng.uniform(10, 50))

    def at(time: float) -> Array:
        return _place(shape, _gait(2 * np.pi * steps * time + phase, swing, elbow), heading, start + way * pace * time)

    return at


def _gait(phase: float, swing: float, elbow: float) -> Pose:
    pose: Pose = {"bend": 4.0, "turn": 6.0 * float(np.sin(phase))}
    for side, offset in (("left", 0.0), ("right", np.pi)):
        turn = float(np.sin(phase + offset))
        pose[f"{side}_hip_raise"] = swing * turn + 4
        pose[f"{side}_knee"] = 8 + 45 * max(0.0, float(np.cos(phase + offset))) ** 2
        pose[f"{side}_shoulder_raise"] = -0.9 * swing * turn
        pose[f"{side}_elbow"] = elbow + 10 * turn
    return limited(pose)


def _stayer(rng: np.random.Generator, seconds: float) -> Callable[[float], Array]:
    """Someone who changes from pose to pose."""
    shape, facing = sample_shape(rng), float(rng.normal(0, 40))
    place = np.array([float(rng.uniform(-1.5, 1.5)), 0.0, -float(rng.uniform(3.0, 6.0))])
    knots, poses = [0.0], [sample_action(rng).pose]
    while knots[-1] < seconds:
        knots.append(knots[-1] + float(rng.uniform(*_HOLD)))
        poses.append(_near(rng, poses[-1]))

    def at(time: float) -> Array:
        index = int(np.searchsorted(knots, time, side="right")) - 1
        share = (time - knots[index]) / (knots[index + 1] - knots[index])
        return _place(shape, _blend(poses[index], poses[index + 1], share), facing, place)

    return at


def _near(rng: np.random.Generator, pose: Pose) -> Pose:
    """Arms and head as in another action, the rest nearly as it is."""
    other = sample_action(rng).pose
    arms = ("shoulder_raise", "shoulder_swing", "shoulder_twist", "elbow", "look", "nod", "tilt")
    return {n: other.get(n, 0.0) if n.endswith(arms) else a + float(rng.normal(0, 4)) for n, a in pose.items()}


def _blend(first: Pose, second: Pose, share: float) -> Pose:
    """Smooth at both ends: the speed is 0 there."""
    eased = share**3 * (10 - 15 * share + 6 * share**2)
    names = first.keys() | second.keys()
    return limited({n: (1 - eased) * first.get(n, 0.0) + eased * second.get(n, 0.0) for n in names})


def _place(shape: Shape, pose: Pose, yaw: float, place: Array) -> Array:
    """(17, 3) world metres, the lower ankle just above the ground."""
    points, _ = keypoints_of(shape, *pose_frames(shape, pose, yaw))
    return np.asarray(points + place - np.array([0.0, points[-2:, 1].min() - 0.08, 0.0]))


def _boxes(pixels: Array, height: int, width: int) -> Array:
    low, high = pixels.min(2), pixels.max(2)
    margin = 0.06 * (high - low).max(-1, keepdims=True)
    corners = np.concatenate([low - margin, high + margin], axis=-1)
    return np.asarray(corners.clip(0, np.array([width, height, width, height], dtype=np.float64)))
