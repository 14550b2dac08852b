"""Draws figures from far to near, into the image and into a map of which part of whom is on each pixel.

Both maps are `SUPERSAMPLE` times the size of the image. Continuous pixels: x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.rendering.camera import Camera, Image
from datasets.synthetic.rendering.primitives import LABEL, Array, Figure, Part, circle, shade

IdMap: TypeAlias = NDArray[np.uint16]
Polygon: TypeAlias = NDArray[np.int32]
Lit: TypeAlias = list[tuple[Polygon, float]]
"""Smaller outlines of a part with their brightness, in drawing order."""

SUPERSAMPLE = 2
NEAR = 0.25
"""Metres in front of the camera where parts stop being drawn."""

_SHIFT = 3
_UNIT = 1 << _SHIFT
"""Polygons are in fixed-point pixels of the maps: so many to a pixel."""

_MANY_SPHERES = 8
_CIRCLE = np.array(circle(18))
_LEVELS = (
    (1.0, 0.0, 0.7), (0.92, 0.08, 0.79), (0.82, 0.17, 0.87), (0.7, 0.26, 0.94), (0.56, 0.35, 1.0), (0.4, 0.44, 1.05),
    (0.22, 0.53, 1.1),
)  # fmt: skip
"""Of a lit part: radius, shift towards the light in radii, brightness."""

_CHOSEN = ((1.5, (0,)), (4.0, (0, 2, 4)), (14.0, (0, 2, 4, 6)), (1e9, (0, 1, 2, 3, 4, 5, 6)))
"""Up to which radius in pixels of the maps, and the levels that are drawn."""


@dataclass(frozen=True)
class Shape2D:
    """One part as polygons.

    Attributes:
        outline: (V, 2) the whole part.
        axis: x, y along the part, in pixels of the maps per metre; None where it has no pattern to draw.
    """

    part: Part
    outline: Polygon
    lit: Lit
    axis: Array | None


def outlines(figure: Figure, camera: Camera) -> list[Shape2D]:
    """The parts of a figure that face the camera, far to near."""
    centres = figure.spheres[:, :3]
    uv, depth = camera.project(centres)
    radius = camera.focal * figure.spheres[:, 3] / np.maximum(depth, 1e-3) * SUPERSAMPLE
    front = np.einsum("si,si->s", figure.normals, camera.position - centres) >= 0.0
    light = np.array(camera.light)
    rings = _rings(uv * SUPERSAMPLE - 0.5, radius, light)
    shapes = []
    for part in _far_to_near(figure, camera, depth):
        chosen = slice(part.start, part.stop)
        if depth[chosen].min() < NEAR or not (front[part.start] if part.flat else front[chosen].any()):
            continue
        axis = _axis(part, uv, camera.focal / float(depth[part.start]))
        if part.flat:
            shapes.append(Shape2D(part, np.ascontiguousarray(rings[0][chosen, 0]), [], axis))
            continue
        points = {level: ring[chosen][front[chosen]].reshape(-1, 2) for level, ring in rings.items()}
        # Spheres shrink and move alike, so the points on the rim stay the same.
        rim = np.asarray(cv2.convexHull(points[0], returnPoints=False)).ravel()
        outline = points[0][rim]
        if part.stop - part.start > _MANY_SPHERES:
            lit = _lit_solid(outline, light)
        else:
            levels = _levels_for(float(radius[chosen].max()))[1:]
            lit = [(points[level][rim], _LEVELS[level][2]) for level in levels]
        shapes.append(Shape2D(part, outline, lit, axis))
    return shapes


def _far_to_near(figure: Figure, camera: Camera, depth: Array) -> list[Part]:
    depths: list[list[float]] = [[] for _ in figure.group_bias]
    for part in figure.parts:
        depths[part.group].append(float(depth[part.start : part.stop].mean()))
    away = [bool(way @ (camera.position - figure.spheres[0, :3]) < 0) for way in figure.ways]

    def key(part: Part) -> tuple[float, float]:
        group = depths[part.group]
        distance = sum(group) / len(group) - figure.group_bias[part.group][away[0]]
        way, layer = part.behind or (0, part.layer)
        return -distance, layer if away[way] else part.layer

    return sorted(figure.parts, key=key)


def _rings(centre: Array, radius: Array, light: Array) -> dict[int, Polygon]:
    """Each sphere's circle (S, V, 2) at the levels that the biggest one needs."""
    result = {}
    for level in _levels_for(float(radius.max())):
        size, shift, _ = _LEVELS[level]
        moved = (centre + radius[:, None] * (shift * light)) * _UNIT
        result[level] = _fixed(moved[:, None] + (radius * (size * _UNIT))[:, None, None] * _CIRCLE)
    return result


def _lit_solid(outline: Polygon, light: Array) -> Lit:
    """The lit side of a part made of many small spheres, such as the skull: the outline shrunk towards the light."""
    centre = outline.mean(0)
    reach = float(np.abs(outline - centre).max())
    levels = (_LEVELS[level] for level in _levels_for(reach / _UNIT)[1:])
    return [
        (_fixed((outline - centre) * size + centre + 0.6 * shift * reach * light), bright)
        for size, shift, bright in levels
    ]


def _levels_for(radius: float) -> tuple[int, ...]:
    return next(levels for largest, levels in _CHOSEN if radius < largest)


def _fixed(points: Array) -> Polygon:
    return points.clip(-30000, 30000).astype(np.int32)


def _axis(part: Part, uv: Array, scale: float) -> Array | None:
    """Unit direction of the part in the image, times pixels per metre; None where a pattern could not be seen."""
    if part.pattern is None or scale < 25:
        return None
    along = uv[part.stop - 1] - (uv[part.start] + uv[part.start + 1]) / 2
    return np.asarray(along / max(float(np.hypot(*along)), 1e-6) * scale * SUPERSAMPLE)


def draw_ids(ids: IdMap, shapes: Sequence[Shape2D], owner: int) -> None:
    """Writes ``owner * 32 + label`` for each part; 0 for objects, the things people hold included."""
    for shape in shapes:
        label = shape.part.label
        cv2.fillConvexPoly(ids, shape.outline, owner * 32 + label if label else 0, cv2.LINE_8, _SHIFT)


def draw_colours(image: Image, shapes: Sequence[Shape2D], contrast: float) -> None:
    """Paints the parts, each with a dark and a lit side; no ``contrast`` makes them flat."""
    for shape in shapes:
        first = 1.0 if shape.part.flat else _LEVELS[0][2] if shape.lit else 0.9
        for polygon, bright in [(shape.outline, first), *shape.lit]:
            colour = shade(shape.part.colour, 1 + contrast * (bright - 1))
            cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_8, _SHIFT)
        if shape.axis is not None:
            _draw_pattern(image, shape, shape.axis)


def _draw_pattern(image: Image, shape: Shape2D, axis: Array) -> None:
    """Prints the part's pattern over its shading."""
    assert shape.part.pattern is not None
    kind, colour = shape.part.pattern
    x, y, w, h = cv2.boundingRect(shape.outline >> _SHIFT)
    left, top = max(x, 0), max(y, 0)
    size = (min(x + w, image.shape[1]) - left, min(y + h, image.shape[0]) - top)
    if min(size) < 4:
        return
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(mask, shape.outline - np.array((left, top), np.int32) * _UNIT, 255, cv2.LINE_8, _SHIFT)
    middle = shape.outline.mean(0) / _UNIT - (left, top)
    scale = float(np.hypot(*axis))
    c, s = axis / scale * 256 / scale
    turn = np.array([[-s, c], [c, s]])
    tile = cv2.warpAffine(
        PATTERNS[kind],
        np.column_stack((turn, (64, 64) - turn @ middle)),
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    region = image[top : top + size[1], left : left + size[0]]
    printed = cv2.add(cv2.convertScaleAbs(region, alpha=0.25), np.array([*(0.7 * c for c in colour), 0.0]))
    cv2.copyTo(printed, cv2.bitwise_and(mask, tile), region)


def _patterns() -> list[Image]:
    """Prints of half a metre by half a metre as (128, 128) masks; rows run across the body."""
    y, x = np.mgrid[0:128, 0:128]
    grid = np.pad(np.random.default_rng(1).random((14, 14), dtype=np.float32), 1, mode="wrap")
    spots = np.asarray(cv2.resize(grid, (146, 146), interpolation=cv2.INTER_CUBIC))[9:137, 9:137]
    masks = [
        y % 16 < 8,
        y % 32 < 10,
        x % 16 < 5,
        (x % 32 < 8) | (y % 32 < 8),
        (x // 16 + y // 16) % 2 == 0,
        (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 16,
        spots > 0.55,
        (np.abs(y - 64) < 22) & (np.abs(x - 64) < 30) & ((x // 6 + y // 9) % 3 != 0),
    ]
    return [mask.astype(np.uint8) * 255 for mask in masks]


PATTERNS = _patterns()
"""Stripes, bands, pinstripes, tartan, checks, dots, camouflage, a printed word."""


def draw_shadow(mask: Image, figure: Figure, camera: Camera, light: Array) -> None:
    """Marks where the figure's parts stop the light on the ground.

    Args:
        mask: (h, w) uint8, half the size of the image.
        figure: who throws the shadow.
        camera: the view.
        light: (3,) direction in which light travels.
    """
    points = figure.spheres[:, :3]
    ground = points - light * (points[:, 1:2] / light[1])
    ground[:, 1] = 0.0
    uv, depth = camera.project(ground)
    if depth.min() < NEAR:
        return
    radius = camera.focal * figure.spheres[:, 3] / depth
    rings = _fixed((uv[:, None] + radius[:, None, None] * _CIRCLE[::3] * (1.0, 0.5)) / 2 * _UNIT)
    for part in figure.parts:
        if not part.flat and part.label != LABEL["hair"]:
            hull = cv2.convexHull(rings[part.start : part.stop].reshape(-1, 2))
            cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, _SHIFT)
