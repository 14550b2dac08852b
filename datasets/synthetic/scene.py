"""Scenes of synthetic people with exact COCO-17 keypoints: who stands where, seen by which camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.backdrop import as_image, paint_backdrop
from datasets.synthetic.cast import Actor, sample_cast
from datasets.synthetic.flags import extent, flag_keypoints
from datasets.synthetic.lens import take_image
from datasets.synthetic.render import (
    SUPERSAMPLE,
    Camera,
    IdMap,
    Image,
    draw_colours,
    draw_ids,
    draw_shadow,
    outlines,
)

MIN_SHARE = 0.001
"""A person with a smaller fraction of the image, or without a visible keypoint, is taken out of the scene."""


@dataclass(frozen=True)
class SyntheticPerson:
    """One person of a scene, in pixels.

    Attributes:
        keypoints: (17, 3) float32 x, y, v; v is 0 outside the image (x = y = 0), 1 occluded, 2 visible.
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
    """An image and its people.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        people: those seen, far to near.
        ids: (2 H, 2 W) uint16, ``(1 + person) * 32 + label``, below 32 where no person is seen.
    """

    image: Image
    people: list[SyntheticPerson]
    ids: IdMap


class SyntheticScenes:
    """An endless set of scenes; the same (size, seed, split, index) always gives the same image."""

    def __init__(self, size: int | tuple[int, int], seed: int, split: int = 0) -> None:
        """Size is the side of a square, or (height, width); scenes of different splits share nothing."""
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.seed, self.split = seed, split

    def scene(self, index: int) -> Scene:
        """Draws scene number ``index``."""
        rng = np.random.default_rng((self.seed, self.split, index))
        camera, actors = sample_cast(rng, self.height, self.width)
        for actor in actors:
            actor.shapes = outlines(actor.figure, camera)
        actors, ids, people = _without_hidden(actors, camera, self.height, self.width)
        image = take_image(rng, _paint(rng, actors, camera, self.height, self.width))
        return Scene(image, people, ids)


def _without_hidden(
    actors: list[Actor], camera: Camera, height: int, width: int
) -> tuple[list[Actor], IdMap, list[SyntheticPerson]]:
    """Takes people out until everyone left is seen well enough to be labelled."""
    while True:
        ids = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), np.uint16)
        cast = [actor for actor in actors if actor.person]
        owner = 0
        for actor in actors:
            owner += actor.person
            draw_ids(ids, actor.shapes, owner if actor.person else 0)
        people = [_annotate(actor, camera, ids, number) for number, actor in enumerate(cast, start=1)]
        hidden = {id(actor) for actor, person in zip(cast, people, strict=True) if _is_hidden(person, height * width)}
        if not hidden:
            return actors, ids, people
        actors = [actor for actor in actors if id(actor) not in hidden]


def _is_hidden(person: SyntheticPerson, pixels: int) -> bool:
    return person.area < MIN_SHARE * pixels or not bool((person.keypoints[:, 2] == 2).any())


def _annotate(actor: Actor, camera: Camera, ids: IdMap, owner: int) -> SyntheticPerson:
    x, y, w, h, area = extent(ids, owner)
    keypoints = flag_keypoints(actor.figure, camera, ids, owner).astype(np.float32)
    return SyntheticPerson(keypoints, (x, y, w, h), area, actor.action, actor.facing)


def _paint(rng: np.random.Generator, actors: list[Actor], camera: Camera, height: int, width: int) -> Image:
    """Backdrop, shadows on it, then everyone from far to near."""
    backdrop = paint_backdrop(rng, height, width, camera, max((actor.depth for actor in actors), default=1.0))
    shadow = np.zeros((height // 2, width // 2), np.uint8)
    slant = np.array([-camera.light[0], -1.0, float(rng.uniform(-0.8, 0.4))])
    for actor in actors:
        draw_shadow(shadow, actor.figure, camera, slant, 2)
    dim = cv2.resize(cv2.GaussianBlur(shadow, (0, 0), 1.2), (width, height))
    dim = 255 - cv2.convertScaleAbs(dim, alpha=float(rng.uniform(0, 0.55)))
    lit = cv2.multiply(backdrop, cv2.merge((dim, dim, dim)), scale=1 / 255)
    large = as_image(cv2.resize(lit, (width * SUPERSAMPLE, height * SUPERSAMPLE), interpolation=cv2.INTER_LINEAR))
    for actor in actors:
        draw_colours(large, actor.shapes, camera.contrast)
    return as_image(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA))
