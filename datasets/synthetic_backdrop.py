"""What is behind and in front of the people: rooms, streets, fields, noise; furniture, poles, bushes. Never people."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic_body import Array
from datasets.synthetic_parts import LABEL, Figure, Part
from datasets.synthetic_render import Camera, Image
from datasets.synthetic_wardrobe import Colour

NDArrayF: TypeAlias = NDArray[np.float32]


def clouds(rng: np.random.Generator, height: int, width: int, octaves: int = 4) -> NDArrayF:
    """Smooth noise (height, width) float32, mean 0, about -1 to 1."""
    total = np.zeros((height, width), np.float32)
    cells = int(rng.integers(2, 5))
    for octave in range(octaves):
        grid = rng.random((cells, cells), dtype=np.float32) - 0.5
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * (1.3 * 0.6**octave)
        cells = cells * 3
    return total


def paint_backdrop(rng: np.random.Generator, height: int, width: int, camera: Camera, scale: float) -> Image:
    """A background of (height, width, 3); ``scale`` is its pixels per picture pixel."""
    image = np.empty((height, width, 3), np.float32)
    kind = rng.random()
    left, right = camera.horizon(0) * scale, camera.horizon(width / scale) * scale
    upper, lower = _two_colours(rng)
    image[:] = upper
    ground = np.array([(0, left), (width, right), (width, height + 9), (0, height + 9)]).clip(-9999, 9999)
    cv2.fillPoly(image, [ground.astype(np.int32)], lower)
    noise = clouds(rng, height, width, 5)
    image *= (1 + float(rng.uniform(0.05, 0.45)) * noise)[..., None]
    if kind < 0.85:
        _clutter(rng, image, min(left, right), scale)
    return np.clip(image, 0, 255).astype(np.uint8)


def _two_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    kind = rng.random()
    if kind < 0.3:
        return _around(rng, (170, 200, 235), 30), _around(rng, (95, 130, 70), 25)
    if kind < 0.5:
        return _around(rng, (190, 190, 190), 40), _around(rng, (110, 110, 112), 30)
    if kind < 0.75:
        return _around(rng, (205, 195, 180), 40), _around(rng, (140, 105, 75), 35)
    if kind < 0.85:
        return _around(rng, (200, 215, 235), 20), _around(rng, (235, 238, 245), 12)
    return _around(rng, (128, 128, 128), 90), _around(rng, (128, 128, 128), 90)


def _around(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = (
        int(np.clip(c + n, 0, 255))
        for c, n in zip(colour, rng.normal(0, spread) * 0.6 + rng.normal(0, spread * 0.5, 3), strict=True)
    )
    return (red, green, blue)


def _clutter(rng: np.random.Generator, image: NDArrayF, horizon: float, scale: float) -> None:
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(2, 14))):
        colour = _around(rng, (120, 120, 120), 80)
        w, h = width * float(rng.uniform(0.03, 0.35)), height * float(rng.uniform(0.05, 0.6))
        x, bottom = float(rng.uniform(-0.1, 1.0)) * width, horizon + float(rng.normal(0.05, 0.15)) * height
        kind = rng.random()
        if kind < 0.55:
            cv2.rectangle(image, (int(x), int(bottom - h)), (int(x + w), int(bottom)), colour, -1)
        elif kind < 0.75:
            cv2.ellipse(
                image,
                (int(x), int(bottom - h / 2)),
                (int(w / 2), int(h / 2)),
                float(rng.uniform(0, 180)),
                0,
                360,
                colour,
                -1,
            )
        else:
            cv2.line(
                image,
                (int(x), int(bottom)),
                (int(x + w * rng.normal(0, 0.5)), int(bottom - h)),
                colour,
                max(1, int(w / 12)),
            )


def sample_objects(rng: np.random.Generator, camera: Camera, depth: float, width: float) -> list[tuple[float, Figure]]:
    """Things between camera and people, each with its depth in metres."""
    objects = []
    for _ in range(int(rng.choice(3, p=(0.55, 0.3, 0.15)))):
        near = depth * float(rng.uniform(0.5, 0.95))
        x = camera.position[0] + (float(rng.uniform(0, width)) - camera.centre[0]) / camera.focal * near
        z = camera.position[2] - near
        half = np.array([float(rng.uniform(0.03, 0.5)), float(rng.uniform(0.15, 0.6)), 0.1])
        objects.append(
            (
                near,
                box_figure(
                    np.array([x, half[1], z]), half, _around(rng, (120, 110, 100), 60), float(rng.uniform(0, 90))
                ),
            )
        )
    return objects


def box_figure(centre: Array, half: Array, colour: Colour, yaw: float) -> Figure:
    """A box with its visible sides in two shades."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    turned = np.column_stack(
        (c * corners[:, 0] + s * corners[:, 2], corners[:, 1], -s * corners[:, 0] + c * corners[:, 2])
    )
    spheres = np.column_stack((turned + centre, np.full(8, 0.02)))
    part = Part(0, 8, LABEL["object"], colour, 0, 0.0)
    return Figure(spheres, np.zeros((8, 3)), [part], [0.0])
