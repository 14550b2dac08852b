"""Scenes of synthetic people with exact COCO-17 keypoints: who stands where, seen by which camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic_backdrop import paint_backdrop, sample_objects
from datasets.synthetic_body import Array, sample_shape
from datasets.synthetic_figure import build_person
from datasets.synthetic_parts import Figure
from datasets.synthetic_flags import extent, flag_keypoints
from datasets.synthetic_pose import sample_action
from datasets.synthetic_render import (
    SUPERSAMPLE, Camera, IdMap, Image, Shape2D, draw_colours, draw_ids, draw_shadow, look, outlines,
)  # fmt: skip
from datasets.synthetic_wardrobe import sample_outfit

MIN_SHARE = 0.0006
"""A person with fewer visible pixels than this share of the picture is taken out of the scene."""


@dataclass(frozen=True)
class SyntheticPerson:
    """One person of a scene, in pixels.

    Attributes:
        keypoints: (17, 3) float32 x, y, v; v is 0 outside the picture (x = y = 0), 1 occluded, 2 visible.
        box: x, y, width, height of the visible pixels.
        area: number of visible pixels.
        action: what the person does.
        facing: degrees from facing the camera, positive to the person's left.
    """

    keypoints: NDArray[np.float32]
    box: tuple[float, float, float, float]
    area: float
    action: str
    facing: float


@dataclass(frozen=True)
class Scene:
    """A picture and its people.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        people: those seen, far to near.
        ids: (2 H, 2 W) uint16, ``(1 + person) * 32 + label``, below 32 where no person is seen.
    """

    image: Image
    people: list[SyntheticPerson]
    ids: IdMap


@dataclass
class _Actor:
    depth: float
    figure: Figure
    action: str = ""
    facing: float = 0.0
    person: bool = True
    shapes: list[Shape2D] | None = None


class SyntheticScenes:
    """An endless set of scenes; the same (size, seed, split, index) always gives the same picture."""

    def __init__(self, size: int | tuple[int, int], seed: int, split: int = 0) -> None:
        """Size is the side of a square, or (height, width); scenes of different splits share nothing."""
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.seed, self.split = seed, split

    def scene(self, index: int) -> Scene:
        """Draws scene number ``index``."""
        rng = np.random.default_rng((self.seed, self.split, index))
        camera, main_depth = _sample_camera(rng, self.height, self.width)
        actors = _sample_people(rng, camera, main_depth, self.width, self.height)
        actors += [
            _Actor(depth, figure, person=False) for depth, figure in sample_objects(rng, camera, main_depth, self.width)
        ]
        actors.sort(key=lambda actor: -actor.depth)
        for actor in actors:
            actor.shapes = outlines(actor.figure, camera)
        actors, ids = _without_hidden(actors, self.height, self.width)
        image = _paint(rng, actors, camera, self.height, self.width)
        return Scene(image, _annotate(actors, camera, ids), ids)


def _sample_camera(rng: np.random.Generator, height: int, width: int) -> tuple[Camera, float]:
    """A camera that sees its main subject at a chosen size and place."""
    focal = float(np.clip(rng.lognormal(0.25, 0.35), 0.7, 3.0)) * max(height, width)
    size = float(np.clip(rng.lognormal(-0.25, 0.65), 0.15, 3.2))
    depth = max(1.0, focal * 1.7 / (size * height))
    eye = float(np.clip(rng.normal(1.5, 0.35), 0.3, 2.4)) if rng.random() < 0.8 else float(rng.uniform(0.3, 5.0))
    target = 0.9 if size < 1.1 else float(rng.uniform(0.9, 1.5)) if rng.random() < 0.8 else 0.5
    drop = (eye - target) / depth
    if abs(drop) > 0.7:
        eye, drop = target + 0.7 * depth * np.sign(drop), 0.7 * float(np.sign(drop))
    pitch = float(np.degrees(np.arctan(drop)) + rng.normal(0, 4))
    position = np.array([0.0, eye, 0.0])
    light = (float(rng.choice((-1, 1)) * rng.uniform(0.3, 0.9)), -float(rng.uniform(0.3, 0.8)))
    roll = float(rng.normal(0, 3))
    return Camera(focal, (width / 2, height / 2), look(position, pitch, roll), position, light), depth


def _sample_people(rng: np.random.Generator, camera: Camera, depth: float, width: int, height: int) -> list[_Actor]:
    """The main person, and others around or behind."""
    count = int(rng.choice(8, p=(0.36, 0.22, 0.14, 0.09, 0.07, 0.05, 0.04, 0.03))) + 1
    actors: list[_Actor] = []
    places: list[tuple[float, float]] = []
    for number in range(count):
        for _ in range(6):
            away = depth if number == 0 else max(0.9, depth * float(rng.lognormal(0.15, 0.35)))
            across = float(rng.normal(0.5, 0.17)) if number == 0 else float(rng.uniform(-0.05, 1.05))
            x = (across - 0.5) * width / camera.focal * away
            if all((x - px) ** 2 + (away - pz) ** 2 > 0.2 for px, pz in places):
                places.append((x, away))
                actors.append(_sample_person(rng, camera, x, away))
                break
    return actors


def _sample_person(rng: np.random.Generator, camera: Camera, x: float, depth: float) -> _Actor:
    shape, action = sample_shape(rng), sample_action(rng)
    facing = float(rng.normal(0, 45)) if rng.random() < 0.65 else float(rng.uniform(-180, 180))
    towards = -float(np.degrees(np.arctan2(x, depth)))
    place = np.array([x, 0.0, camera.position[2] - depth])
    outfit = sample_outfit(rng, shape.woman, shape.child)
    figure = build_person(rng, shape, action, facing + towards, outfit, place)
    return _Actor(depth, figure, action.name, facing)


def _without_hidden(actors: list[_Actor], height: int, width: int) -> tuple[list[_Actor], IdMap]:
    """Takes people out until everyone left is seen well enough to be labelled."""
    while True:
        ids = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), np.uint16)
        owner = 0
        for actor in actors:
            owner += actor.person
            draw_ids(ids, actor.shapes or [], owner if actor.person else 0)
        pixels = np.bincount((ids >> 5).ravel(), minlength=owner + 1)
        enough = MIN_SHARE * ids.size
        shown, owner = [], 0
        for actor in actors:
            owner += actor.person
            if not actor.person or pixels[owner] >= enough:
                shown.append(actor)
        if len(shown) == len(actors):
            return actors, ids
        actors = shown


def _annotate(actors: list[_Actor], camera: Camera, ids: IdMap) -> list[SyntheticPerson]:
    people = []
    for owner, actor in enumerate((a for a in actors if a.person), start=1):
        x, y, w, h, area = extent(ids, owner)
        keypoints = flag_keypoints(actor.figure, camera, ids, owner).astype(np.float32)
        people.append(SyntheticPerson(keypoints, (x, y, w, h), area, actor.action, actor.facing))
    return people


def _paint(rng: np.random.Generator, actors: list[_Actor], camera: Camera, height: int, width: int) -> Image:
    backdrop = paint_backdrop(rng, height, width, camera, 1.0)
    shadow = np.zeros((height // 2, width // 2), np.uint8)
    slant = np.array([-camera.light[0], -1.0, float(rng.uniform(-0.8, 0.4))])
    for actor in actors:
        draw_shadow(shadow, actor.figure, camera, slant, 2)
    dim = cv2.resize(cv2.GaussianBlur(shadow, (0, 0), 1.2), (width, height))
    dim = 255 - cv2.convertScaleAbs(dim, alpha=float(rng.uniform(0, 0.55)))
    backdrop = cv2.multiply(backdrop, cv2.merge((dim, dim, dim)), scale=1 / 255)
    image = cv2.resize(backdrop, (width * SUPERSAMPLE, height * SUPERSAMPLE), interpolation=cv2.INTER_LINEAR)
    for actor in actors:
        draw_colours(image, actor.shapes or [])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return _expose(rng, image)


def _expose(rng: np.random.Generator, image: Image) -> Image:
    """The camera: blur, contrast, colour balance and noise."""
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.1)))
    levels = np.arange(256) / 255
    tables = [
        np.clip(255 * float(rng.normal(1, 0.05)) * (levels ** float(rng.lognormal(0, 0.2))), 0, 255) for _ in range(3)
    ]
    image = cv2.LUT(image, np.stack(tables, 1).astype(np.uint8)[:, None])
    noise = rng.integers(0, 256, image.shape, dtype=np.uint8)
    strength = float(rng.uniform(0, 0.1))
    return cv2.addWeighted(image, 1.0, noise, strength, -128 * strength)
