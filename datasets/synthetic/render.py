"""Draws figures from far to near, into the image and into a map that tells which part of whom is on each pixel.

Both maps are `SUPERSAMPLE` times the size of the image. Continuous pixels: x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.body import Array
from datasets.synthetic.parts import LABEL, Figure, Part
from datasets.synthetic.wardrobe import Colour

Image: TypeAlias = NDArray[np.uint8]
IdMap: TypeAlias = NDArray[np.uint16]
Polygon: TypeAlias = NDArray[np.int32]

SUPERSAMPLE = 2
NEAR = 0.25
"""Metres in front of the camera where parts stop being drawn."""

_SHIFT = 3
_MANY = 8
_TURN = np.arange(18) * (2 * np.pi / 18)
_CIRCLE = np.stack((np.cos(_TURN), np.sin(_TURN)), 1)
_LEVELS = (
    (1.0, 0.0, 0.7), (0.92, 0.08, 0.79), (0.82, 0.17, 0.87), (0.7, 0.26, 0.94), (0.56, 0.35, 1.0), (0.4, 0.44, 1.05),
    (0.22, 0.53, 1.1),
)  # fmt: skip
"""Of a lit part: radius, shift towards the light in radii, brightness."""

_CHOSEN = ((1.5, (0,)), (4.0, (0, 2, 4)), (14.0, (0, 2, 4, 6)), (1e9, (0, 1, 2, 3, 4, 5, 6)))
"""Up to which radius in pixels of the maps, and the levels that are drawn."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        focal: pixels of the image.
        centre: (cx, cy) pixels of the image.
        rotation: (3, 3) world to camera: x right, y down, z forward.
        position: (3,) world metres.
        light: (2,) direction in the image where light comes from.
        contrast: of lit and shaded sides, about 1.
    """

    focal: float
    centre: tuple[float, float]
    rotation: Array
    position: Array
    light: tuple[float, float]
    contrast: float = 1.0

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


def look(pitch: float, roll: float) -> Array:
    """The rotation of a camera that looks along -z, tipped down by ``pitch`` degrees."""
    p, r = np.radians(pitch), np.radians(roll)
    level = np.array(((1.0, 0, 0), (0, -1.0, 0), (0, 0, -1.0)))
    tip = np.array(((1.0, 0, 0), (0, np.cos(p), -np.sin(p)), (0, np.sin(p), np.cos(p))))
    spin = np.array(((np.cos(r), -np.sin(r), 0), (np.sin(r), np.cos(r), 0), (0, 0, 1.0)))
    return np.asarray(spin @ tip @ level)


@dataclass(frozen=True)
class Shape2D:
    """One part as polygons in fixed-point pixels of the maps.

    Attributes:
        outline: (V, 2) the whole part.
        lit: smaller outlines with their brightness, in drawing order.
        axis: x, y along the part, in pixels of the maps per metre; None where it has no pattern to draw.
    """

    part: Part
    outline: Polygon
    lit: list[tuple[Polygon, float]]
    axis: tuple[float, float] | None = None


def outlines(figure: Figure, camera: Camera) -> list[Shape2D]:
    """The parts of a figure that face the camera, far to near."""
    centres = figure.spheres[:, :3]
    uv, depth = camera.project(centres)
    radius = camera.focal * figure.spheres[:, 3] / np.maximum(depth, 1e-3) * SUPERSAMPLE
    front = np.einsum("si,si->s", figure.normals, camera.position - centres) >= 0.0
    rings = _rings(uv * SUPERSAMPLE - 0.5, radius, np.array(camera.light))
    shapes = []
    for part in _far_to_near(figure, camera, depth):
        chosen = slice(part.start, part.stop)
        if depth[chosen].min() < NEAR or not (front[part.start] if part.flat else front[chosen].any()):
            continue
        shape = _shape(part, rings, front[chosen], float(radius[chosen].max()), camera.light)
        if part.pattern is not None:
            shape = replace(shape, axis=_axis(part, uv, camera.focal / float(depth[part.start])))
        shapes.append(shape)
    return shapes


def _rings(centre: Array, radius: Array, light: Array) -> dict[int, Polygon]:
    """Each sphere's circle (S, V, 2) at the levels that the biggest one needs, in fixed-point pixels of the maps."""
    unit = 1 << _SHIFT
    result = {}
    for level in _levels_for(float(radius.max())):
        size, shift, _ = _LEVELS[level]
        moved = (centre + radius[:, None] * (shift * light)) * unit
        circles = moved[:, None] + (radius * (size * unit))[:, None, None] * _CIRCLE
        result[level] = circles.clip(-30000, 30000).astype(np.int32)
    return result


def _levels_for(radius: float) -> tuple[int, ...]:
    return next(levels for largest, levels in _CHOSEN if radius < largest)


def _axis(part: Part, uv: Array, scale: float) -> tuple[float, float] | None:
    """Unit direction of the part in the image, times pixels per metre; None where a pattern could not be seen."""
    if scale < 25:
        return None
    along = uv[part.stop - 1] - (uv[part.start] + uv[part.start + 1]) / 2
    along = along / max(float(np.hypot(*along)), 1e-6) * scale * SUPERSAMPLE
    return (float(along[0]), float(along[1]))


def _shape(
    part: Part, rings: dict[int, Polygon], front: NDArray[np.bool_], radius: float, light: tuple[float, float]
) -> Shape2D:
    chosen = slice(part.start, part.stop)
    if part.flat:
        return Shape2D(part, np.ascontiguousarray(rings[0][chosen, 0]), [])
    points = rings[0][chosen][front].reshape(-1, 2)
    rim = np.asarray(cv2.convexHull(points, returnPoints=False)).ravel()
    if part.stop - part.start > _MANY:
        return Shape2D(part, points[rim], _lit_solid(points[rim], light))
    levels = [level for level in _levels_for(radius)[1:] if level in rings]
    # Spheres shrink and move alike, so the points on the rim stay the same.
    lit = [(rings[level][chosen][front].reshape(-1, 2)[rim], _LEVELS[level][2]) for level in levels]
    return Shape2D(part, points[rim], lit)


def _lit_solid(outline: Polygon, light: tuple[float, float]) -> list[tuple[Polygon, float]]:
    """The lit side of a part made of many small spheres, such as the skull: the outline shrunk towards the light."""
    centre = outline.mean(0)
    reach = float(np.abs(outline - centre).max())
    result = []
    for level in _levels_for(reach / (1 << _SHIFT))[1:]:
        size, shift, bright = _LEVELS[level]
        moved = (outline - centre) * size + centre + 0.6 * shift * reach * np.array(light)
        result.append((moved.clip(-30000, 30000).astype(np.int32), bright))
    return result


def _far_to_near(figure: Figure, camera: Camera, depth: Array) -> list[Part]:
    groups: dict[int, list[float]] = {}
    for part in figure.parts:
        groups.setdefault(part.group, []).append(float(depth[part.start : part.stop].mean()))
    behind = [bool(way @ (camera.position - figure.spheres[0, :3]) < 0) for way in figure.ways]
    bias = [pair[behind[0]] for pair in figure.group_bias]
    distance = {group: sum(values) / len(values) - bias[group] for group, values in groups.items()}

    def key(part: Part) -> tuple[float, float]:
        turned = part.back_layer is not None and behind[part.way]
        return (-distance[part.group], part.back_layer if turned and part.back_layer is not None else part.layer)

    return sorted(figure.parts, key=key)


def _patterns() -> list[Image]:
    """Prints of half a metre by half a metre as (128, 128) masks; rows run across the body."""
    y, x = np.mgrid[0:128, 0:128]
    grid = np.pad(np.random.default_rng(1).random((14, 14), dtype=np.float32), 1, mode="wrap")
    spots = np.asarray(cv2.resize(grid, (146, 146), interpolation=cv2.INTER_CUBIC))[9:137, 9:137]
    masks = [
        y % 16 < 8, y % 32 < 10, x % 16 < 5, (x % 32 < 8) | (y % 32 < 8), (x // 16 + y // 16) % 2 == 0,
        (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 16, spots > 0.55,
        (np.abs(y - 64) < 22) & (np.abs(x - 64) < 30) & ((x // 6 + y // 9) % 3 != 0),
    ]  # fmt: skip
    return [mask.astype(np.uint8) * 255 for mask in masks]


PATTERNS = _patterns()
"""Stripes, bands, pinstripes, tartan, checks, dots, camouflage, a printed word."""


def _draw_pattern(image: Image, shape: Shape2D, axis: tuple[float, float]) -> None:
    """Prints the part's pattern over its shading."""
    assert shape.part.pattern is not None
    kind, colour = shape.part.pattern
    x, y, w, h = cv2.boundingRect(shape.outline >> _SHIFT)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + w, image.shape[1]), min(y + h, image.shape[0])
    if right - left < 4 or bottom - top < 4:
        return
    size = (right - left, bottom - top)
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, shape.outline - np.array((left, top), np.int32) * (1 << _SHIFT), 255, cv2.LINE_8, _SHIFT)
    middle = shape.outline.mean(0) / (1 << _SHIFT) - (left, top)
    scale = float(np.hypot(*axis))
    c, s = axis[0] / scale * 256 / scale, axis[1] / scale * 256 / scale
    turn = np.array([[-s, c], [c, s]])
    tile = cv2.warpAffine(
        PATTERNS[kind], np.column_stack((turn, (64, 64) - turn @ middle)), size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    region = image[top:bottom, left:right]
    printed = cv2.add(cv2.convertScaleAbs(region, alpha=0.25), np.array([*(0.7 * c for c in colour), 0.0]))
    cv2.copyTo(printed, cv2.bitwise_and(mask, tile), region)


def draw_ids(ids: IdMap, shapes: Sequence[Shape2D], owner: int) -> None:
    """Writes ``owner * 32 + label`` for each part; 0 for objects, the things people hold included."""
    for shape in shapes:
        label = shape.part.label
        value = owner * 32 + label if label else 0
        cv2.fillConvexPoly(ids, shape.outline, value, cv2.LINE_8, _SHIFT)


def draw_colours(image: Image, shapes: Sequence[Shape2D], contrast: float) -> None:
    """Paints the parts, each with a dark and a lit side; no ``contrast`` makes them flat."""
    for shape in shapes:
        colour = shape.part.colour
        first = 1.0 if shape.part.flat else _LEVELS[0][2] if shape.lit else 0.9
        cv2.fillConvexPoly(image, shape.outline, _shade(colour, 1 + contrast * (first - 1)), cv2.LINE_8, _SHIFT)
        for polygon, bright in shape.lit:
            cv2.fillConvexPoly(image, polygon, _shade(colour, 1 + contrast * (bright - 1)), cv2.LINE_8, _SHIFT)
        if shape.axis is not None:
            _draw_pattern(image, shape, shape.axis)


def _shade(colour: Colour, bright: float) -> Colour:
    red, green, blue = (min(255, int(c * bright)) for c in colour)
    return (red, green, blue)


def draw_shadow(mask: Image, figure: Figure, camera: Camera, light: Array, size: int) -> None:
    """Marks where the figure's parts stop the light on the ground.

    Args:
        mask: (h, w) uint8 at ``1 / size`` of the image's pixels.
        figure: who throws the shadow.
        camera: the view.
        light: (3,) direction in which light travels.
        size: image pixels per mask pixel.
    """
    points = figure.spheres[:, :3]
    ground = points - light * (points[:, 1:2] / light[1])
    ground[:, 1] = 0.0
    uv, depth = camera.project(ground)
    if depth.min() < NEAR:
        return
    radius = camera.focal * figure.spheres[:, 3] / depth
    ring = (uv[:, None] + radius[:, None, None] * _CIRCLE[::3] * (1.0, 0.5)) / size
    ring = (ring * 8).clip(-30000, 30000).astype(np.int32)
    for part in figure.parts:
        if not part.flat and part.label != LABEL["hair"]:
            hull = cv2.convexHull(ring[part.start : part.stop].reshape(-1, 2))
            cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, 3)
