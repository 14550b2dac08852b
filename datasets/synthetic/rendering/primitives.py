"""What a renderer draws: figures made of parts, each the convex outline of some spheres in one colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

Pattern: TypeAlias = tuple[int, Colour]
"""An index of `renderer.PATTERNS`, and the colour of the print."""

Point: TypeAlias = tuple[float, float, float]

Sphere: TypeAlias = tuple[float, float, float, float]
"""x, y, z, radius in a frame, metres."""

LABELS = (
    "object", "torso", "neck", "face", "hair", "hat", "left_ear", "right_ear",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shank", "left_foot", "right_thigh", "right_shank", "right_foot", "skirt", "bag",
)  # fmt: skip
"""What the id map distinguishes in one person; ``object`` is no part of a person."""

LABEL = {name: index for index, name in enumerate(LABELS)}


def shade(colour: Colour, factor: float) -> Colour:
    """The colour times a factor."""
    red, green, blue = (min(255, int(c * factor)) for c in colour)
    return (red, green, blue)


def vary(rng: np.random.Generator, colour: Colour, spread: float, hue: float = 0.4) -> Colour:
    """A colour around this one: brightness changes by 0.6 ``spread``, each channel by ``hue`` times ``spread``."""
    noise = rng.normal(0, spread * 0.6) + rng.normal(0, spread * hue, 3)
    red, green, blue = (int(min(max(c + n, 0.0), 255.0)) for c, n in zip(colour, noise, strict=True))
    return (red, green, blue)


def circle(count: int) -> list[tuple[float, float]]:
    """Points of the unit circle."""
    return [(float(np.cos(a)), float(np.sin(a))) for a in np.arange(count) * (2 * np.pi / count)]


def box(xs: Sequence[float], ys: Sequence[float], zs: Sequence[float], radius: float) -> list[Sphere]:
    """Equal spheres at every combination of the coordinates."""
    return [(x, y, z, radius) for x in xs for z in zs for y in ys]


def rotation(axis: int, degrees: float) -> Array:
    """(3, 3), about the x, y or z axis."""
    angle = degrees * (np.pi / 180)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[i, i] = result[j, j] = np.cos(angle)
    result[j, i] = np.sin(angle)
    result[i, j] = -result[j, i]
    return result


@dataclass(frozen=True)
class Part:
    """Spheres ``start`` to ``stop`` of a figure, drawn as one convex outline.

    Attributes:
        group: parts of one group are sorted by `layer`, groups by their depth.
        flat: drawn in one colour without a lit side, as the polygon of its spheres' centres.
        behind: an index of the figure's `ways`, and the layer when that one points away from the camera.
        pattern: a print along the line from the middle of its first two spheres to the last.
    """

    start: int
    stop: int
    label: int
    colour: Colour
    group: int
    layer: float
    flat: bool
    behind: tuple[int, float] | None
    pattern: Pattern | None


@dataclass
class Figure:
    """Everything of one person or object that is drawn.

    Attributes:
        spheres: (S, 4) x, y, z, radius, world metres.
        normals: (S, 3) outward directions; a sphere that faces away is left out. Zeros where it never is.
        parts: in no particular order.
        group_bias: metres by which each group counts as nearer than its centre, seen from the front and from behind.
        keypoints: (17, 3) world metres in COCO's order; empty for an object.
        key_normals: (17, 3) outward directions of nose, eyes and ears; zeros for the others.
        ways: (3, 3) directions ahead of the face, to its left, to its right.
    """

    spheres: Array
    normals: Array
    parts: list[Part]
    group_bias: list[tuple[float, float]]
    keypoints: Array = field(default_factory=lambda: np.zeros((0, 3)))
    key_normals: Array = field(default_factory=lambda: np.zeros((0, 3)))
    ways: Array = field(default_factory=lambda: np.zeros((3, 3)))


class FigureBuilder:
    """Collects spheres in named frames and places them all at once."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.spheres: list[Sphere] = []
        self.normals: list[Point] = []
        self.parts: list[Part] = []
        self.bias: list[tuple[float, float]] = []

    def group(self, bias: float = 0.0, back: float | None = None) -> None:
        """Starts a group that counts as ``bias`` metres nearer than it is, ``back`` metres seen from behind."""
        self.bias.append((bias, bias if back is None else back))

    def add(
        self,
        label: str,
        colour: Colour,
        spheres: Sequence[tuple[str, Sequence[Sphere]]],
        layer: float = 0.0,
        *,
        normals: Sequence[Point] | None = None,
        flat: bool = False,
        behind: tuple[int, float] | None = None,
        pattern: Pattern | None = None,
    ) -> None:
        """One part of the group started last; its spheres with the frames that they move with."""
        start = len(self.spheres)
        for frame, members in spheres:
            self.frames += [frame] * len(members)
            self.spheres += members
        stop, group = len(self.spheres), len(self.bias) - 1
        self.normals += normals or [(0.0, 0.0, 0.0)] * (stop - start)
        self.parts.append(Part(start, stop, LABEL[label], colour, group, layer, flat, behind, pattern))

    def thing(self, colour: Colour, spheres: Sequence[Sphere], layer: float = 0.0, frame: str = "ground") -> None:
        """One part of an object."""
        self.add("object", colour, [(frame, spheres)], layer)

    def place(self, frames: Sequence[str], rotations: Array, origins: Array) -> tuple[Array, Array]:
        """Spheres (S, 4) and normals (S, 3) in the world, given each frame's rotation (3, 3) and origin (3,)."""
        spheres, chosen = np.array(self.spheres), np.array([frames.index(frame) for frame in self.frames])
        turn = rotations[chosen]
        centres = np.einsum("sij,sj->si", turn, spheres[:, :3]) + origins[chosen]
        return np.column_stack((centres, spheres[:, 3])), np.einsum("sij,sj->si", turn, np.array(self.normals))
