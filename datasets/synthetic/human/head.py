"""Head, face, hair and hat of a synthetic person. Positions are in the head's frame, in heights of the head."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from datasets.synthetic.human.appearance import Outfit
from datasets.synthetic.human.body import SIDES, Shape
from datasets.synthetic.rendering.primitives import Array, Colour, FigureBuilder, Point, Sphere, circle, shade

_DIRECTIONS = np.array(
    [
        (np.cos(a) * np.cos(e), np.sin(e), np.sin(a) * np.cos(e))
        for e in np.radians((-72, -40, -8, 20, 48, 76))
        for a in np.radians(np.arange(0, 360, 30))
    ]
)
"""(72, 3) directions over the skull."""

FACE_POINTS = ((0.0, 0.40, 0.50), (0.14, 0.52, 0.40), (-0.14, 0.52, 0.40), (0.36, 0.46, -0.03), (-0.36, 0.46, -0.03))
"""Nose, left and right eye, left and right ear."""

FACE_NORMALS = ((0.0, 0.0, 1.0), (0.3, 0.0, 0.95), (-0.3, 0.0, 0.95), (1.0, 0.0, 0.15), (-1.0, 0.0, 0.15))

_AHEAD: Point = (0.0, 0.0, 1.0)
_PAIR = (1, -1)


def add_head(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    """Neck, skull, ears, face, hair and hat."""
    h = shape.head
    if outfit.hair_length > 0:
        # In a group of its own: behind the trunk seen from the front, before it from behind.
        build.group(-0.15, 0.1)
        hair = [(x * 0.26 * h, 0.55 * h, -0.16 * h, 0.16 * h) for x in _PAIR]
        hair += [(x * 0.24 * h, (0.45 - outfit.hair_length) * h, -0.22 * h, 0.13 * h) for x in _PAIR]
        build.add("hair", shade(outfit.hair, 0.85), [("head", hair)])
    build.group(0.02)
    neck: list[tuple[str, list[Sphere]]] = [
        ("chest", [(0.0, 0.5 * shape.torso, -0.03 * h, 0.25 * h)]),
        ("neck", [(0.0, shape.neck, 0.0, 0.235 * h)]),
        ("head", [(0.0, 0.12 * h, -0.04 * h, 0.225 * h)]),
    ]
    build.add("neck", shade(outfit.skin, 0.92), neck, -1)
    _add_skull(build, h, outfit)
    _add_face(build, h, outfit)
    if outfit.hat:
        _add_hat(build, h, outfit)


def _add_skull(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    """The face is a patch of skin on the front of a skull that is hair all over; and the ears."""
    d = _DIRECTIONS
    narrow = 1 - 0.28 * np.clip(-d[:, 1], 0, 1)
    centre = np.array((0.0, 0.5, 0.0))
    points = d * np.array((0.33, 0.47, 0.42)) * np.column_stack((narrow, np.ones(72), narrow))
    face = d[:, 1] < outfit.hairline + 0.62 * d[:, 2]
    build.add("face", outfit.skin, _spheres(points + centre, 0.02, h))
    if not outfit.bald:
        scalp = points[~face] * (1 + 0.1 * outfit.volume) + centre
        build.add("hair", outfit.hair, _spheres(scalp, 0.02, h), 1)
    build.add("face", outfit.skin, _spheres(points[face] + centre, 0.02, h), 1.2, normals=d[face].tolist())
    layer = 1.5 if outfit.ears_out else 0.6
    for way, (side, x) in enumerate(SIDES.items(), start=1):
        ear, skin = f"{side}_ear", outfit.skin
        outer = [(x * 0.35, y, -0.03) for y in (0.41, 0.5)]
        build.add(ear, shade(skin, 0.9), _spheres(outer, 0.055, h), layer, behind=(way, -0.4))
        inner = [(x * 0.375, y, -0.02) for y in (0.42, 0.49)]
        build.add(ear, shade(skin, 0.7), _spheres(inner, 0.026, h), layer + 0.01, normals=[(x, 0.0, 0.15)] * 2)


def _add_face(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    def decal(colour: Colour, centre: Point, half: tuple[float, float], normal: Point, layer: float) -> None:
        """A flat hexagon, bent around the side of the face."""
        x, y, z = centre
        bend = 0.5 * np.sign(x)
        points = [(x + half[0] * c, y + half[1] * s, z - bend * (half[0] * c)) for c, s in circle(6)]
        build.add("face", colour, _spheres(points, 0.0, h), layer, normals=[normal] * 6, flat=True)

    skin = outfit.skin
    for x in _PAIR:
        side = (0.3 * x, 0.0, 0.95)
        decal(shade(skin, 0.8), (x * 0.14, 0.525, 0.385), (0.09, 0.06), side, 1.9)
        decal((240, 238, 232), (x * 0.14, 0.52, 0.385), (0.07, 0.036), side, 2.0)
        decal(outfit.eyes, (x * 0.14, 0.52, 0.395), (0.036, 0.04), side, 2.1)
        decal(shade(outfit.hair, 0.8), (x * 0.145, 0.615, 0.385), (0.09, 0.018), side, 2.2)
        if outfit.glasses:
            decal(outfit.glasses, (x * 0.15, 0.52, 0.4), (0.115, 0.075), side, 2.3)
    smile = 0.02 + 0.03 * outfit.smile
    decal(outfit.lips, (0.0, 0.235, 0.385), (0.11, smile), _AHEAD, 2.0)
    if outfit.smile > 0.6:
        decal((244, 240, 234), (0.0, 0.24, 0.39), (0.085, 0.45 * smile), _AHEAD, 2.05)
    decal(shade(skin, 0.75), (0.0, 0.335, 0.43), (0.07, 0.02), _AHEAD, 2.4)
    nose = [(0.0, 0.52 * h, 0.40 * h, 0.022 * h), (0.0, 0.385 * h, 0.44 * h, 0.05 * h)]
    build.add("face", shade(skin, 0.97), [("head", nose)], 2.5, normals=[_AHEAD] * 2)
    if outfit.beard:
        chin = [(0.16, 0.1, 0.27), (-0.16, 0.1, 0.27), (0.0, 0.05, 0.29), (0.2, 0.25, 0.24), (-0.2, 0.25, 0.24)]
        build.add("face", outfit.hair, _spheres(chin, 0.06, h), 1.6, normals=[(0.0, -0.2, 1.0)] * 5)


def _add_hat(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    crown = _spheres([(x * 0.2, 0.75, z * 0.24) for x in _PAIR for z in _PAIR], 0.19, h)
    build.add("hat", outfit.hat_colour, [*crown, ("head", [(0.0, 0.9 * h, 0.0, 0.17 * h)])], 3)
    if outfit.hat == "helmet":
        shell = [(x * 0.2, y, z) for x in _PAIR for y, z in ((0.82, 0.2), (0.82, -0.22), (0.58, -0.2))]
        build.add("hat", outfit.hat_colour, _spheres(shell, 0.22, h), 3.1)
    brims = {
        "cap": [(x * 0.24, 0.7, 0.35) for x in _PAIR] + [(x * 0.16, 0.66, 0.75) for x in _PAIR],
        "brim": [(c * 0.62, 0.66, s * 0.66) for c, s in circle(8)],
    }
    if outfit.hat in brims:
        brim = _spheres(brims[outfit.hat], 0.025, h)
        build.add("hat", shade(outfit.hat_colour, 0.8), brim, 3.2, behind=(0, -0.3))


def _spheres(points: Iterable[Point] | Array, radius: float, h: float) -> list[tuple[str, list[Sphere]]]:
    """Equal spheres around points (N, 3) of the head."""
    return [("head", [(float(x) * h, float(y) * h, float(z) * h, radius * h) for x, y, z in points])]
