"""Draws figures from far to near, into the picture and into a map that tells which part of whom is on each pixel.

Both maps are `SUPERSAMPLE` times the size of the picture. Continuous pixels: x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic_body import Array
from datasets.synthetic_figure import LABEL, Figure, Part
from datasets.synthetic_wardrobe import Colour

Image: TypeAlias = NDArray[np.uint8]
IdMap: TypeAlias = NDArray[np.uint16]
Polygon: TypeAlias = NDArray[np.int32]

SUPERSAMPLE = 2
NEAR = 0.25
"""Metres in front of the camera where parts stop being drawn."""

_SHIFT = 3
_TURN = np.arange(14) * (2 * np.pi / 14)
_CIRCLE = np.stack((np.cos(_TURN), np.sin(_TURN)), 1)
_LEVELS = ((1.0, 0.0, 0.72), (0.84, 0.16, 0.88), (0.62, 0.32, 1.0), (0.3, 0.5, 1.1))
"""Of a lit part: radius, shift towards the light in radii, brightness."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        focal: pixels of the picture.
        centre: (cx, cy) pixels of the picture.
        rotation: (3, 3) world to camera: x right, y down, z forward.
        position: (3,) world metres.
        light: (2,) direction in the picture where light comes from.
    """

    focal: float
    centre: tuple[float, float]
    rotation: Array
    position: Array
    light: tuple[float, float]

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points (N, 3) to pixels (N, 2) and depths (N,) in metres."""
        local = (points - self.position) @ self.rotation.T
        depth = local[:, 2]
        return self.focal * local[:, :2] / np.maximum(depth, 1e-3)[:, None] + self.centre, depth

    def horizon(self, x: float) -> float:
        """The row of the horizon at column x."""
        up = self.rotation[:, 1]
        offset = (x - self.centre[0]) * up[0] + self.focal * up[2]
        return float(self.centre[1] - offset / up[1])


def look(position: Array, pitch: float, roll: float) -> Array:
    """The rotation of a camera that looks along -z, tipped down by ``pitch`` degrees."""
    del position
    p, r = np.radians(pitch), np.radians(roll)
    level = np.array(((1.0, 0, 0), (0, -1.0, 0), (0, 0, -1.0)))
    tip = np.array(((1.0, 0, 0), (0, np.cos(p), -np.sin(p)), (0, np.sin(p), np.cos(p))))
    spin = np.array(((np.cos(r), -np.sin(r), 0), (np.sin(r), np.cos(r), 0), (0, 0, 1.0)))
    return spin @ tip @ level


@dataclass(frozen=True)
class Shape2D:
    """One part as polygons in fixed-point pixels of the maps.

    Attributes:
        outline: (V, 2) the whole part.
        lit: smaller outlines with their brightness, in drawing order.
    """

    part: Part
    outline: Polygon
    lit: list[tuple[Polygon, float]]


def outlines(figure: Figure, camera: Camera) -> list[Shape2D]:
    """The parts of a figure that face the camera, far to near."""
    centres = figure.spheres[:, :3]
    uv, depth = camera.project(centres)
    radius = camera.focal * figure.spheres[:, 3] / np.maximum(depth, 1e-3)
    to_eye = camera.position - centres
    front = np.einsum("si,si->s", figure.normals, to_eye) >= 0.0
    centre = (uv * SUPERSAMPLE - 0.5) * (1 << _SHIFT)
    scale = SUPERSAMPLE * (1 << _SHIFT)
    levels = [
        ((centre + radius[:, None] * (shift * scale) * np.array(camera.light))[:, None]
         + (radius * (size * scale))[:, None, None] * _CIRCLE).clip(-30000, 30000).astype(np.int32)
        for size, shift, _ in _LEVELS
    ]  # fmt: skip
    shapes = []
    for part in _far_to_near(figure, camera, depth):
        shape = _shape(part, levels, depth, front, radius)
        if shape is not None:
            shapes.append(shape)
    return shapes


def _shape(part: Part, levels: list[Polygon], depth: Array, front: NDArray[np.bool_], radius: Array) -> Shape2D | None:
    chosen = slice(part.start, part.stop)
    if depth[chosen].min() < NEAR:
        return None
    keep = front[chosen]
    if part.flat:
        if not keep[0]:
            return None
        return Shape2D(part, np.ascontiguousarray(levels[0][chosen, 0]), [])
    if not keep.any():
        return None
    picked = [level[chosen][keep].reshape(-1, 2) for level in levels]
    detail = float(radius[chosen].max()) * SUPERSAMPLE
    count = 1 if detail < 1.5 else 3 if detail < 5 else 4
    lit = [
        (cv2.convexHull(points)[:, 0], bright)
        for points, (_, _, bright) in zip(picked[1:count], _LEVELS[1:count], strict=True)
    ]
    return Shape2D(part, cv2.convexHull(picked[0])[:, 0], lit)


def _far_to_near(figure: Figure, camera: Camera, depth: Array) -> list[Part]:
    groups: dict[int, list[float]] = {}
    for part in figure.parts:
        groups.setdefault(part.group, []).append(float(depth[part.start : part.stop].mean()))
    distance = {group: sum(values) / len(values) - figure.group_bias[group] for group, values in groups.items()}
    behind = bool(figure.facing @ (camera.position - figure.spheres[0, :3]) < 0)

    def key(part: Part) -> tuple[float, float]:
        layer = part.back_layer if behind and part.back_layer is not None else part.layer
        return (-distance[part.group], layer)

    return sorted(figure.parts, key=key)


def draw_ids(ids: IdMap, shapes: Sequence[Shape2D], owner: int) -> None:
    """Writes ``owner * 32 + label`` for each part; owner 0 is no person."""
    for shape in shapes:
        cv2.fillConvexPoly(ids, shape.outline, owner * 32 + shape.part.label, cv2.LINE_8, _SHIFT)


def draw_colours(image: Image, shapes: Sequence[Shape2D]) -> None:
    """Paints the parts, each with a dark and a lit side."""
    for shape in shapes:
        colour = shape.part.colour
        first = 1.0 if shape.part.flat else _LEVELS[0][2] if shape.lit else 0.9
        cv2.fillConvexPoly(image, shape.outline, _shade(colour, first), cv2.LINE_8, _SHIFT)
        for polygon, bright in shape.lit:
            cv2.fillConvexPoly(image, polygon, _shade(colour, bright), cv2.LINE_8, _SHIFT)


def _shade(colour: Colour, bright: float) -> Colour:
    red, green, blue = (min(255, int(c * bright)) for c in colour)
    return (red, green, blue)


def draw_shadow(mask: Image, figure: Figure, camera: Camera, light: Array, size: int) -> None:
    """Marks where the figure's parts stop the light on the ground.

    Args:
        mask: (h, w) uint8 at ``1 / size`` of the picture's pixels.
        figure: who throws the shadow.
        camera: the view.
        light: (3,) direction in which light travels.
        size: picture pixels per mask pixel.
    """
    points = figure.spheres[:, :3]
    ground = points - light * (points[:, 1:2] / light[1])
    ground[:, 1] = 0.0
    uv, depth = camera.project(ground)
    if depth.min() < NEAR:
        return
    radius = camera.focal * figure.spheres[:, 3] / depth
    ring = (uv[:, None] + radius[:, None, None] * _CIRCLE[::2] * (1.0, 0.5)) / size
    ring = (ring * 8).clip(-30000, 30000).astype(np.int32)
    for part in figure.parts:
        if not part.flat and part.label != LABEL["hair"]:
            hull = cv2.convexHull(ring[part.start : part.stop].reshape(-1, 2))
            cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, 3)
