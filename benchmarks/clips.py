"""Clips of synthetic people who move by known kinematics: frames, and where everyone is in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sin, tau
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.human.appearance import Outfit, sample_outfit
from datasets.synthetic.human.body import Pose, Shape, limited, sample_shape
from datasets.synthetic.human.figure import build_person
from datasets.synthetic.human.pose import Action
from datasets.synthetic.rendering.camera import Camera, Image, as_image, degrade, look
from datasets.synthetic.rendering.primitives import LABEL
from datasets.synthetic.rendering.renderer import SUPERSAMPLE, draw_colours, draw_ids, outlines
from datasets.synthetic.scene.background import paint_background
from datasets.synthetic.scene.scene import label_keypoints, visible_extent

HEIGHT, WIDTH, RATE = 360, 640, 12.5
_FOCAL, _EYE, _DEPTH = 620.0, 1.2, 5.0
"""Pixels; metres of the camera above the ground, and in front of everyone."""
_HEAD = ("face", "left_ear", "right_ear", "hat")


class Stance(NamedTuple):
    """Where someone is and how: metres to the right of the image's middle, degrees from facing the camera, and pose."""

    x: float
    yaw: float
    pose: Pose


@dataclass(frozen=True)
class Actor:
    """Someone of a clip, whose `stance` is asked for by seconds; None while they are away."""

    shape: Shape
    outfit: Outfit
    stance: Callable[[float], Stance | None]
    depth: float = _DEPTH


class Shot(NamedTuple):
    """One frame, with the truth about its P actors, in pixels; zeros for those out of view.

    Attributes:
        image: (H, W, 3) RGB.
        time: seconds.
        keypoints: (P, 17, 3) x, y and v as in COCO.
        boxes: (P, 4) corners around what is visible.
        heads: (P, 4) corners around what is visible of face, ears and hat.
    """

    image: Image
    time: float
    keypoints: NDArray[np.float32]
    boxes: NDArray[np.float32]
    heads: NDArray[np.float32]


def render(actors: Sequence[Actor], seconds: float, seed: int, rate: float = RATE) -> Iterator[Shot]:
    """The frames of a clip by a camera that stands still."""
    rng = np.random.default_rng(seed)
    camera = Camera(_FOCAL, (WIDTH / 2, HEIGHT / 2), look(3.0, 0.0), np.array([0.0, _EYE, 0.0]))
    background = paint_background(rng, HEIGHT, WIDTH, camera, 2 * _DEPTH)
    large = as_image(cv2.resize(background, (WIDTH * SUPERSAMPLE, HEIGHT * SUPERSAMPLE)))
    for number in range(round(seconds * rate)):
        yield _shoot(actors, camera, large.copy(), number / rate, seed)


def _shoot(actors: Sequence[Actor], camera: Camera, canvas: Image, time: float, seed: int) -> Shot:
    ids = np.zeros(canvas.shape[:2], np.uint16)
    keypoints, boxes = np.zeros((len(actors), 17, 3), np.float32), np.zeros((2, len(actors), 4), np.float32)
    figures = {}
    for owner, actor in sorted(enumerate(actors, 1), key=lambda entry: -entry[1].depth):
        if (now := actor.stance(time)) is None:
            continue
        action = Action("stand", limited(now.pose))
        place = np.array([now.x, 0.0, -actor.depth])
        figure = build_person(np.random.default_rng(0), actor.shape, action, now.yaw, actor.outfit, place)
        figures[owner] = figure
        shapes = outlines(figure, camera)
        draw_ids(ids, shapes, owner)
        draw_colours(canvas, shapes, camera.contrast)
    for owner, figure in figures.items():
        keypoints[owner - 1] = label_keypoints(figure, camera, ids, owner)
        head = np.where(np.isin(ids, [owner * 32 + LABEL[name] for name in _HEAD]), ids, np.uint16(0))
        for kind, seen in enumerate((ids, head)):
            (x, y, w, h), _ = visible_extent(seen, owner)
            boxes[kind, owner - 1] = x, y, x + w, y + h
    image = as_image(cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return Shot(degrade(np.random.default_rng(seed), image), time, keypoints, *boxes)


def write_clip(path: Path, shots: Iterable[Shot], rate: float = RATE) -> Path:
    """An H.264 video of the frames."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(rate))
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for shot in shots:
            container.mux(video.encode(av.VideoFrame.from_ndarray(shot.image, format="rgb24")))
        container.mux(video.encode(None))
    return path


def person(seed: int, stance: Callable[[float], Stance | None], depth: float = _DEPTH) -> Actor:
    """Someone with clothes of their own."""
    rng = np.random.default_rng(seed)
    shape = sample_shape(rng)
    return Actor(shape, sample_outfit(rng, shape.woman, shape.child), stance, depth)


def walk(time: float, x: float, speed: float, phase: float = 0.0) -> Stance:
    """A stride of about 1.4 metres, to the right for a positive speed."""
    swing = sin(tau * time * abs(speed) / 1.4 + phase)
    pose = {"bend": 3.0, "pitch": 2.0}
    for side, way in (("left", swing), ("right", -swing)):
        pose |= {f"{side}_hip_raise": 24 * way + 4, f"{side}_knee": 8 + 26 * (1 - way), f"{side}_ankle": -4.0}
        pose |= {f"{side}_shoulder_raise": -20 * way, f"{side}_elbow": 20.0}
    return Stance(x, 75.0 if speed > 0 else -75.0, pose)


def squat(time: float, x: float, yaw: float, period: float, depth: float) -> Stance:
    """Down and up again once a period; the knees bend by `depth` degrees and the arms are stretched out."""
    down = (1 - np.cos(tau * time / period)) / 2
    knee = 5 + depth * down
    pose = {"pitch": 30 * down, "bend": 8 * down}
    for side in ("left", "right"):
        pose |= {f"{side}_hip_raise": 0.8 * knee + 8 * down, f"{side}_hip_swing": 15.0, f"{side}_knee": knee}
        pose |= {f"{side}_ankle": 0.5 * knee, f"{side}_shoulder_raise": 70 * down, f"{side}_elbow": 15.0}
    return Stance(x, yaw, pose)


def absence(seed: int, away: float = 3.0, stranger: bool = False) -> list[Actor]:
    """Someone leaves, or is hidden for odd seeds, and is back after some seconds while another person stays around.

    Args:
        seed: of the two people.
        away: seconds, from 2 s on.
        stranger: whether a third person comes back instead of the first.
    """
    speed, gone, leaves = 1.4, 2.0, seed % 2 == 0

    def stance(time: float) -> Stance | None:
        if time < gone:
            return walk(time, (0.6 if leaves else -1.4) + speed * time, speed)
        if time < gone + away:
            return None
        since = time - gone - away
        return walk(time, 3.4 - speed * since, -speed) if leaves else walk(time, 0.6 + 0.5 * speed * since, speed)

    def before(time: float) -> Stance | None:
        return stance(time) if time < gone or not stranger else None

    def after(time: float) -> Stance | None:
        return stance(time) if time >= gone else None

    around = person(3 * seed + 1, lambda time: walk(time, -2.2 + 0.2 * time, 0.2), 4.5)
    return [person(3 * seed, before), around, *([person(3 * seed + 2, after)] if stranger else [])]
