"""What a renderer draws: figures made of parts, each the convex outline of some spheres in a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from datasets.synthetic.body import FRAME, FRAMES, Array
from datasets.synthetic.wardrobe import Colour, Pattern

LABELS = (
    "object", "torso", "neck", "face", "hair", "hat", "left_ear", "right_ear",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shank", "left_foot", "right_thigh", "right_shank", "right_foot", "skirt", "bag",
)  # fmt: skip
"""What the id map tells apart in one person; ``object`` is no part of anybody."""

LABEL = {name: index for index, name in enumerate(LABELS)}

SEGMENT = FRAME | {"ground": len(FRAMES)}
"""Frames of the body, and one on the ground below the pelvis that turns with the body's yaw only."""

Point: TypeAlias = tuple[float, float, float]
Sphere: TypeAlias = tuple[float, float, float, float]
"""x, y, z, radius in the frame of a segment, metres."""


@dataclass(frozen=True)
class Part:
    """Spheres ``start`` to ``stop`` of a figure, drawn as one convex outline.

    Attributes:
        group: parts of one group are sorted by `layer`, groups by their depth.
        flat: drawn in one colour without a lit side, as the polygon of its spheres' centres.
        back_layer: the layer when `way` points away from the camera, None where it is the same.
        way: an index of the figure's `ways`: where the face looks, the left of the head, its right.
        pattern: a print along the line from the middle of its first two spheres to the last.
    """

    start: int
    stop: int
    label: int
    colour: Colour
    group: int
    layer: float
    flat: bool = False
    back_layer: float | None = None
    pattern: Pattern | None = None
    way: int = 0


@dataclass
class Figure:
    """Everything of one person or object that is drawn.

    Attributes:
        spheres: (S, 4) x, y, z, radius, world metres.
        normals: (S, 3) outward directions; a sphere that faces away is left out. Zeros where it never is.
        parts: in no particular order.
        group_bias: metres by which each group counts as nearer than its centre, seen from the front and from behind.
        keypoints: (17, 3) world metres in COCO's order, or none for an object.
        key_normals: (17, 3) outward directions of nose, eyes and ears; zeros for the others.
        ways: (3, 3) directions ahead of the face, to its left, to its right.
    """

    spheres: Array
    normals: Array
    parts: list[Part]
    group_bias: list[tuple[float, float]]
    keypoints: Array | None = None
    key_normals: Array | None = None
    ways: Array = field(default_factory=lambda: np.zeros((3, 3)))


class FigureBuilder:
    """Collects spheres in segment frames and places them all at once."""

    def __init__(self) -> None:
        self.segments: list[int] = []
        self.rows: list[Sphere] = []
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
        segment: str,
        spheres: Sequence[Sphere],
        layer: float = 0.0,
        *,
        normals: Sequence[Point] | None = None,
        flat: bool = False,
        back_layer: float | None = None,
        pattern: Pattern | None = None,
        way: int = 0,
    ) -> None:
        """One part on one segment, in the group started last."""
        pieces = [(segment, sphere) for sphere in spheres]
        self.join(
            label, colour, pieces, layer, normals=normals, flat=flat, back_layer=back_layer, pattern=pattern, way=way
        )  # fmt: skip

    def join(
        self,
        label: str,
        colour: Colour,
        pieces: Sequence[tuple[str, Sphere]],
        layer: float = 0.0,
        *,
        normals: Sequence[Point] | None = None,
        flat: bool = False,
        back_layer: float | None = None,
        pattern: Pattern | None = None,
        way: int = 0,
    ) -> None:
        """One part whose spheres sit on several segments."""
        start = len(self.rows)
        self.segments += [SEGMENT[segment] for segment, _ in pieces]
        self.rows += [sphere for _, sphere in pieces]
        self.normals += normals or [(0.0, 0.0, 0.0)] * len(pieces)
        group, stop = len(self.bias) - 1, len(self.rows)
        self.parts.append(Part(start, stop, LABEL[label], colour, group, layer, flat, back_layer, pattern, way))

    def limb(
        self, label: str, colour: Colour, segment: str, length: float, radii: tuple[float, float],
        span: tuple[float, float] = (0.0, 1.0), layer: float = 0.0, grow: float = 1.0, pattern: Pattern | None = None,
    ) -> None:  # fmt: skip
        """A tapered piece of a limb, from fraction ``span[0]`` to ``span[1]`` of its length, fuller at a third."""
        spheres: list[Sphere] = []
        for at in (span[0], 0.35, span[1]) if span[0] < 0.35 < span[1] else span:
            radius = radii[0] + (radii[1] - radii[0]) * at + 0.12 * radii[0] * (1 - abs(at - 0.35) / 0.65)
            spheres.append((0.0, -length * at, 0.0, radius * grow))
        self.add(label, colour, segment, spheres, layer, pattern=pattern)

    def place(self, rotations: Array, origins: Array) -> tuple[Array, Array]:
        """Spheres (S, 4) and normals (S, 3) in the world, given the segments' rotations and origins."""
        rows, segments = np.array(self.rows), np.array(self.segments)
        turn = rotations[segments]
        centres = np.einsum("sij,sj->si", turn, rows[:, :3]) + origins[segments]
        return np.column_stack((centres, rows[:, 3])), np.einsum("sij,sj->si", turn, np.array(self.normals))


def darker(colour: Colour, factor: float) -> Colour:
    """The colour times a factor."""
    red, green, blue = (max(0, min(255, int(c * factor))) for c in colour)
    return (red, green, blue)
