"""Scenes of synthetic people, whose exact COCO-17 keypoints, visibility flags and boxes are read from an id map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from datasets.synthetic.rendering.camera import Camera, Image, as_image, degrade
from datasets.synthetic.rendering.primitives import LABEL, Array, Figure
from datasets.synthetic.rendering.renderer import (
    SUPERSAMPLE,
    IdMap,
    Shape2D,
    draw_colours,
    draw_ids,
    draw_shadow,
    outlines,
)
from datasets.synthetic.scene.background import paint_background
from datasets.synthetic.scene.placement import Actor, place_actors
from sia.skeletons.skeleton import COCO_PERSON

MIN_FRACTION = 0.001
"""A person on a smaller fraction of the image, or without a visible keypoint, is taken out of the scene."""

_Rendered: TypeAlias = list[tuple[Actor, list[Shape2D]]]
"""Actors with their outlines in the image, far to near."""

_COVERS = {
    "nose": ("face",),
    "eye": ("face",),
    "ear": ("ear",),
    "shoulder": ("upper_arm", "torso", "skirt", "neck"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm", "hand"),
    "hip": ("thigh", "torso", "skirt"),
    "knee": ("thigh", "shank", "skirt"),
    "ankle": ("shank", "foot"),
}
"""A keypoint is visible where the pixel under it belongs to one of these parts, on its own side, of its own person."""


def _covering_labels(keypoint: str) -> frozenset[int]:
    side, _, joint = keypoint.rpartition("_")
    return frozenset(LABEL[name if name in LABEL else f"{side}_{name}"] for name in _COVERS[joint])


_LABELS = [_covering_labels(name) for name in COCO_PERSON.names]


@dataclass(frozen=True)
class SyntheticPerson:
    """One person of a scene, in pixels.

    Attributes:
        keypoints: (17, 3) float32 x, y, v; v is 0 outside the image (x = y = 0), 1 occluded, 2 visible.
        box: x, y, width, height of the visible pixels; zeros where none is visible.
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
        camera, actors = place_actors(rng, self.height, self.width)
        rendered = [(actor, outlines(actor.figure, camera)) for actor in actors]
        rendered, ids, people = self._without_hidden(rendered, camera)
        image = degrade(rng, self._paint(rng, rendered, camera))
        return Scene(image, people, ids)

    def _without_hidden(self, rendered: _Rendered, camera: Camera) -> tuple[_Rendered, IdMap, list[SyntheticPerson]]:
        """Takes people out until everyone left is seen well enough to be labelled."""
        while True:
            ids = np.zeros((self.height * SUPERSAMPLE, self.width * SUPERSAMPLE), np.uint16)
            owner = 0
            for actor, shapes in rendered:
                owner += actor.is_person
                draw_ids(ids, shapes, owner if actor.is_person else 0)
            persons = [actor for actor, _ in rendered if actor.is_person]
            people = [_label(actor, camera, ids, owner) for owner, actor in enumerate(persons, start=1)]
            hidden = [actor for actor, person in zip(persons, people, strict=True) if self._is_hidden(person)]
            if not hidden:
                return rendered, ids, people
            rendered = [(actor, shapes) for actor, shapes in rendered if actor not in hidden]

    def _is_hidden(self, person: SyntheticPerson) -> bool:
        too_small = person.area < MIN_FRACTION * (self.height * self.width)
        return too_small or not (person.keypoints[:, 2] == 2).any()

    def _paint(self, rng: Generator, rendered: _Rendered, camera: Camera) -> Image:
        """Background, shadows on it, then everyone from far to near."""
        height, width = self.height, self.width
        reach = max((actor.depth for actor, _ in rendered), default=1.0)
        background = paint_background(rng, height, width, camera, reach)
        shadow = np.zeros((height // 2, width // 2), np.uint8)
        slant = np.array([-camera.light[0], -1.0, rng.uniform(-0.8, 0.4)])
        for actor, _ in rendered:
            draw_shadow(shadow, actor.figure, camera, slant)
        dim = cv2.resize(cv2.GaussianBlur(shadow, (0, 0), 1.2), (width, height))
        dim = 255 - cv2.convertScaleAbs(dim, alpha=rng.uniform(0, 0.55))
        lit = cv2.multiply(background, cv2.merge((dim, dim, dim)), scale=1 / 255)
        large = as_image(cv2.resize(lit, (width * SUPERSAMPLE, height * SUPERSAMPLE), interpolation=cv2.INTER_LINEAR))
        for _, shapes in rendered:
            draw_colours(large, shapes, camera.contrast)
        return as_image(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA))


def _label(actor: Actor, camera: Camera, ids: IdMap, owner: int) -> SyntheticPerson:
    keypoints = label_keypoints(actor.figure, camera, ids, owner).astype(np.float32)
    box, area = visible_extent(ids, owner)
    return SyntheticPerson(keypoints, box, area, actor.action, actor.facing)


def label_keypoints(figure: Figure, camera: Camera, ids: IdMap, owner: int) -> Array:
    """Keypoints (17, 3): x, y in pixels of the image and COCO's v.

    0 (with x = y = 0): outside the image. 1: behind something, its own body included. 2: visible.
    """
    uv, depth = camera.project(figure.keypoints)
    height, width = ids.shape
    cell = np.floor(uv * SUPERSAMPLE).clip(-1, 1e6).astype(int)
    inside = ((cell >= 0) & (cell < (width, height))).all(1) & (depth > 0)
    turned = _turned_away(figure, camera)
    result = np.zeros((17, 3))
    for k in np.flatnonzero(inside):
        person, label = divmod(int(ids[cell[k, 1], cell[k, 0]]), 32)
        visible = person == owner and label in _LABELS[k] and not turned[k]
        result[k] = (*uv[k], 2 if visible else 1)
    return result


def _turned_away(figure: Figure, camera: Camera) -> NDArray[np.bool_]:
    """Nose, eyes and ears on the far side of the head; shoulders and hips on the far side of the trunk."""
    to_eye = camera.position - figure.keypoints
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    facing = np.einsum("ki,ki->k", figure.key_normals, to_eye)
    turned = facing < np.array([-0.1, 0.0, 0.0, -0.3, -0.3] + [-1.0] * 12)
    for left, right in ((5, 6), (11, 12)):
        across = figure.keypoints[left] - figure.keypoints[right]
        side = float(across @ to_eye[left]) / float(np.linalg.norm(across))
        turned[left] |= side < -0.9
        turned[right] |= side > 0.9
    return np.asarray(turned, bool)


def visible_extent(ids: IdMap, owner: int) -> tuple[tuple[float, float, float, float], float]:
    """Box x, y, w, h and area of a person's visible pixels, in pixels of the image; zeros where none is visible."""
    mask = (ids >> 5) == owner
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        return (0.0, 0.0, 0.0, 0.0), 0.0
    x, y = float(columns[0]) / SUPERSAMPLE, float(rows[0]) / SUPERSAMPLE
    w, h = float(columns[-1] + 1) / SUPERSAMPLE - x, float(rows[-1] + 1) / SUPERSAMPLE - y
    return (x, y, w, h), float(mask.sum()) / SUPERSAMPLE**2
