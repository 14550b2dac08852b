"""Head, face, hair and hat of a synthetic person. Positions are in the head's frame, in heights of the head."""

from __future__ import annotations

import numpy as np

from datasets.synthetic.body import Array, Shape
from datasets.synthetic.parts import FigureBuilder, Point, Sphere, darker
from datasets.synthetic.wardrobe import Outfit

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


def add_head(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    """Neck, skull, ears, face, hair and hat."""
    h = shape.head
    if outfit.hair_length > 0:
        _long_hair(build, h, outfit)
    build.group(0.02)
    neck = [("chest", (0.0, 0.5 * shape.torso, -0.03 * h, 0.25 * h))]
    neck += [("neck", (0.0, shape.neck, 0.0, 0.235 * h)), ("head", (0.0, 0.12 * h, -0.04 * h, 0.225 * h))]
    build.join("neck", darker(outfit.skin, 0.92), neck, -1)
    _skull(build, h, outfit)
    _ears(build, h, outfit)
    _face(build, h, outfit)
    if outfit.beard:
        _beard(build, h, outfit)
    if outfit.hat:
        _hat(build, h, outfit)


def _skull(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    """The face is a patch of skin on the front of a skull that is hair all over."""
    d = _DIRECTIONS
    narrow = 1 - 0.28 * np.clip(-d[:, 1], 0, 1)
    centre = np.array((0.0, 0.5, 0.0))
    points = d * np.array((0.33, 0.47, 0.42)) * np.column_stack((narrow, np.ones(72), narrow))
    face = d[:, 1] < outfit.hairline + 0.62 * d[:, 2]
    build.add("face", outfit.skin, "head", _spheres(points + centre, 0.02, h), 0)
    if not outfit.bald:
        scalp = points[~face] * (1 + 0.1 * outfit.volume) + centre
        build.add("hair", outfit.hair, "head", _spheres(scalp, 0.02, h), 1)
    normals = [(float(x), float(y), float(z)) for x, y, z in d[face]]
    build.add("face", outfit.skin, "head", _spheres(points[face] + centre, 0.02, h), 1.2, normals=normals)


def _long_hair(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    """Hangs behind the head, in a group of its own: behind the trunk seen from the front, before it from behind."""
    build.group(-0.15, 0.1)
    rows: list[Sphere] = [(x * 0.26 * h, 0.55 * h, -0.16 * h, 0.16 * h) for x in (1, -1)]
    rows += [(x * 0.24 * h, (0.45 - outfit.hair_length) * h, -0.22 * h, 0.13 * h) for x in (1, -1)]
    build.add("hair", darker(outfit.hair, 0.85), "head", rows)


def _ears(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    layer = 1.5 if outfit.ears_out else 0.6
    for way, (side, x) in enumerate((("left", 1.0), ("right", -1.0)), start=1):
        rows = [(x * 0.35 * h, y * h, -0.03 * h, 0.055 * h) for y in (0.41, 0.5)]
        build.add(f"{side}_ear", darker(outfit.skin, 0.9), "head", rows, layer, back_layer=-0.4, way=way)
        inner = [(x * 0.375 * h, y * h, -0.02 * h, 0.026 * h) for y in (0.42, 0.49)]
        normals = [(x, 0.0, 0.15)] * 2
        build.add(f"{side}_ear", darker(outfit.skin, 0.7), "head", inner, layer + 0.01, normals=normals)


def _face(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    for x in (1.0, -1.0):
        facing = (0.3 * x, 0.0, 0.95)
        _decal(build, h, darker(outfit.skin, 0.8), (x * 0.14, 0.525, 0.385), (0.09, 0.06), facing, 1.9)
        _decal(build, h, (240, 238, 232), (x * 0.14, 0.52, 0.385), (0.07, 0.036), facing, 2.0)
        _decal(build, h, outfit.eyes, (x * 0.14, 0.52, 0.395), (0.036, 0.04), facing, 2.1)
        _decal(build, h, darker(outfit.hair, 0.8), (x * 0.145, 0.615, 0.385), (0.09, 0.018), facing, 2.2)
        if outfit.glasses:
            _decal(build, h, outfit.glasses, (x * 0.15, 0.52, 0.4), (0.115, 0.075), facing, 2.3)
    ahead = (0.0, 0.0, 1.0)
    smile = 0.02 + 0.03 * outfit.smile
    _decal(build, h, outfit.lips, (0.0, 0.235, 0.385), (0.11, smile), ahead, 2.0)
    if outfit.smile > 0.6:
        _decal(build, h, (244, 240, 234), (0.0, 0.24, 0.39), (0.085, 0.45 * smile), ahead, 2.05)
    _decal(build, h, darker(outfit.skin, 0.75), (0.0, 0.335, 0.43), (0.07, 0.02), ahead, 2.4)
    nose = [(0.0, 0.52 * h, 0.40 * h, 0.022 * h), (0.0, 0.385 * h, 0.44 * h, 0.05 * h)]
    build.add("face", darker(outfit.skin, 0.97), "head", nose, 2.5, normals=[(0.0, 0.0, 1.0)] * 2)


def _decal(
    build: FigureBuilder, h: float, colour: tuple[int, int, int], centre: Point, half: tuple[float, float],
    normal: Point, layer: float,
) -> None:  # fmt: skip
    """A flat hexagon on the face, bent around its side."""
    x, y, z = centre
    bend = 0.5 * np.sign(x)
    angles = np.arange(6) * (np.pi / 3)
    across, up = half[0] * np.cos(angles), half[1] * np.sin(angles)
    points = np.column_stack((x + across, y + up, z - bend * across))
    build.add("face", colour, "head", _spheres(points, 0.0, h), layer, normals=[normal] * 6, flat=True)


def _beard(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    points = np.array(((0.16, 0.1, 0.27), (-0.16, 0.1, 0.27), (0, 0.05, 0.29), (0.2, 0.25, 0.24), (-0.2, 0.25, 0.24)))
    build.add("face", outfit.hair, "head", _spheres(points, 0.06, h), 1.6, normals=[(0.0, -0.2, 1.0)] * 5)


def _hat(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    crown = [(x * 0.2, 0.75, z * 0.24) for x in (1, -1) for z in (1, -1)]
    build.add("hat", outfit.hat_colour, "head", [*_spheres(np.array(crown), 0.19, h), (0.0, 0.9 * h, 0.0, 0.17 * h)], 3)
    if outfit.hat == "helmet":
        shell = [(x * 0.2, y, z) for x in (1, -1) for y, z in ((0.82, 0.2), (0.82, -0.22), (0.58, -0.2))]
        build.add("hat", outfit.hat_colour, "head", _spheres(np.array(shell), 0.22, h), 3.1)
    angles = np.arange(8) * (np.pi / 4)
    brims = {
        "cap": [(x * 0.24, 0.7, 0.35) for x in (1, -1)] + [(x * 0.16, 0.66, 0.75) for x in (1, -1)],
        "brim": [(float(np.cos(a)) * 0.62, 0.66, float(np.sin(a)) * 0.66) for a in angles],
    }
    if outfit.hat in brims:
        rows = _spheres(np.array(brims[outfit.hat]), 0.025, h)
        build.add("hat", darker(outfit.hat_colour, 0.8), "head", rows, 3.2, back_layer=-0.3)


def _spheres(points: Array, radius: float, h: float) -> list[Sphere]:
    return [(float(x) * h, float(y) * h, float(z) * h, radius * h) for x, y, z in points]
