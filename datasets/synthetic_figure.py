"""A posed body becomes parts to draw: each part is the convex outline of some spheres, with a colour and a label.

World frame: x right, y up, z towards the viewer of an unturned camera; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datasets.synthetic_body import FRAME, Array, Pose, Shape, pose_frames
from datasets.synthetic_wardrobe import Colour, Outfit

LABELS = (
    "object", "torso", "neck", "face", "hair", "hat", "left_ear", "right_ear",
    "left_upper_arm", "left_forearm", "left_hand", "right_upper_arm", "right_forearm", "right_hand",
    "left_thigh", "left_shank", "left_foot", "right_thigh", "right_shank", "right_foot", "skirt", "bag",
)  # fmt: skip
"""What the id map tells apart in one person."""

LABEL = {name: index for index, name in enumerate(LABELS)}

Sphere = tuple[float, float, float, float]
"""x, y, z, radius in the frame of a body segment."""


@dataclass(frozen=True)
class Part:
    """Spheres ``start`` to ``stop`` of a figure, drawn as one convex outline.

    Attributes:
        group: parts of one group are sorted by `layer`, groups by their depth.
        flat: drawn in one colour, without a lit side, and only if its first sphere's normal faces the camera.
        back_layer: the layer when the head is seen from behind.
    """

    start: int
    stop: int
    label: int
    colour: Colour
    group: int
    layer: float
    flat: bool = False
    back_layer: float | None = None
    pattern: int = 0


@dataclass
class Figure:
    """Everything of one person or object that is drawn.

    Attributes:
        spheres: (S, 4) x, y, z, radius, world metres.
        normals: (S, 3) outward directions for culling; zeros where a sphere is never culled.
        parts: in no particular order.
        group_bias: (G,) metres by which each group counts as nearer than its centre.
        keypoints: (17, 3) world metres in COCO's order, or none for an object.
        key_normals: (17, 3) outward directions of nose, eyes and ears; zeros for the others.
        facing: (3,) direction of the face.
    """

    spheres: Array
    normals: Array
    parts: list[Part]
    group_bias: list[float]
    keypoints: Array | None = None
    key_normals: Array | None = None
    chest_left: Array = field(default_factory=lambda: np.zeros(3))
    facing: Array = field(default_factory=lambda: np.zeros(3))
    stripe_axis: Array = field(default_factory=lambda: np.zeros((2, 3)))


class FigureBuilder:
    """Collects spheres in segment frames and places them all at once."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.rows: list[Sphere] = []
        self.normals: list[tuple[float, float, float]] = []
        self.parts: list[Part] = []
        self.bias: list[float] = []

    def group(self, bias: float = 0.0) -> int:
        """Starts a group that counts as ``bias`` metres nearer than it is."""
        self.bias.append(bias)
        return len(self.bias) - 1

    def add(
        self,
        label: str,
        colour: Colour,
        spheres: list[tuple[str, Sphere]],
        layer: float = 0.0,
        *,
        normals: list[tuple[float, float, float]] | None = None,
        flat: bool = False,
        back_layer: float | None = None,
        pattern: int = 0,
    ) -> None:
        """One part of the group started last."""
        start = len(self.rows)
        self.frames += [FRAME[frame] for frame, _ in spheres]
        self.rows += [sphere for _, sphere in spheres]
        self.normals += normals or [(0.0, 0.0, 0.0)] * len(spheres)
        group = len(self.bias) - 1
        self.parts.append(Part(start, len(self.rows), LABEL[label], colour, group, layer, flat, back_layer, pattern))

    def limb(
        self, label: str, colour: Colour, frame: str, length: float, radii: tuple[float, float],
        span: tuple[float, float] = (0.0, 1.0), layer: float = 0.0, grow: float = 1.0, pattern: int = 0,
    ) -> None:  # fmt: skip
        """A tapered piece of a limb from fraction ``span[0]`` to ``span[1]`` of its length."""
        spheres = []
        for at in (span[0], 0.35, span[1]) if span[0] < 0.35 < span[1] else span:
            radius = radii[0] + (radii[1] - radii[0]) * at + 0.12 * radii[0] * (1 - abs(at - 0.35) / 0.65)
            spheres.append((frame, (0.0, -length * at, 0.0, radius * grow)))
        self.add(label, colour, spheres, layer, pattern=pattern)


HEAD_DIRECTIONS = np.array(
    [
        (np.cos(a) * np.cos(e), np.sin(e), np.sin(a) * np.cos(e))
        for e in np.radians((-72, -40, -8, 20, 48, 76))
        for a in np.radians(np.arange(0, 360, 30))
    ]
)
"""(72, 3) directions over the skull."""


def build_person(shape: Shape, pose: Pose, yaw: float, outfit: Outfit, position: Array) -> Figure:
    """Parts and keypoints of a person.

    Args:
        shape: the body.
        pose: degrees.
        yaw: degrees, 0 faces world +z.
        outfit: clothes, skin and hair.
        position: (3,) world metres of the lowest point of the body.
    """
    build = FigureBuilder()
    _legs(build, shape, outfit)
    _trunk(build, shape, outfit)
    _arms(build, shape, outfit)
    _head(build, shape, outfit)
    rotations, origins = pose_frames(shape, pose, yaw)
    rows = np.array(build.rows)
    frames = np.array(build.frames)
    centres = np.einsum("sij,sj->si", rotations[frames], rows[:, :3]) + origins[frames]
    normals = np.einsum("sij,sj->si", rotations[frames], np.array(build.normals))
    move = np.asarray(position, dtype=float) - (0.0, float((centres[:, 1] - rows[:, 3]).min()), 0.0)
    keypoints, key_normals = _keypoints(shape, rotations, origins)
    return Figure(
        spheres=np.column_stack((centres + move, rows[:, 3])), normals=normals, parts=build.parts, group_bias=build.bias,
        keypoints=keypoints + move, key_normals=key_normals, chest_left=rotations[FRAME["chest"]][:, 0],
        facing=rotations[FRAME["head"]][:, 2], stripe_axis=np.stack((origins[0], origins[FRAME["neck"]])) + move,
    )  # fmt: skip


def _keypoints(shape: Shape, rotations: Array, origins: Array) -> tuple[Array, Array]:
    h, head = shape.head, FRAME["head"]
    local = np.array([
        (0.0, 0.40 * h, 0.50 * h), (0.14 * h, 0.52 * h, 0.40 * h), (-0.14 * h, 0.52 * h, 0.40 * h),
        (0.34 * h, 0.46 * h, -0.03 * h), (-0.34 * h, 0.46 * h, -0.03 * h),
    ])  # fmt: skip
    normals = np.array([(0, 0, 1.0), (0.3, 0, 0.95), (-0.3, 0, 0.95), (1.0, 0, 0.1), (-1.0, 0, 0.1)])
    face = local @ rotations[head].T + origins[head]
    frames = [
        f"{side}_{name}"
        for name in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
        for side in ("left", "right")
    ]
    joints = origins[[FRAME[name] for name in frames]]
    key_normals = np.zeros((17, 3))
    key_normals[:5] = normals @ rotations[head].T
    return np.concatenate((face, joints)), key_normals


def _legs(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h = shape.height * shape.girth
    for side in ("left", "right"):
        build.group(-0.03)
        radii = (0.048 * h, 0.032 * h)
        build.limb(f"{side}_thigh", outfit.skin, f"{side}_thigh", shape.thigh, radii)
        build.limb(
            f"{side}_thigh", outfit.lower, f"{side}_thigh", shape.thigh, radii,
            (0, min(1.0, outfit.leg_cover)), 1, outfit.leg_width, outfit.lower_pattern,
        )  # fmt: skip
        build.group(0.0)
        radii = (0.033 * h, 0.021 * h)
        build.limb(f"{side}_shank", outfit.skin, f"{side}_shank", shape.shank, radii)
        if outfit.sock > 0:
            build.limb(
                f"{side}_shank",
                outfit.sock_colour,
                f"{side}_shank",
                shape.shank,
                radii,
                (1 - outfit.sock, 1),
                0.5,
                1.03,
            )
        if outfit.leg_cover > 1:
            build.limb(
                f"{side}_shank", outfit.lower, f"{side}_shank", shape.shank, radii,
                (0, outfit.leg_cover - 1), 1, outfit.leg_width, outfit.lower_pattern,
            )  # fmt: skip
        f, r = shape.foot, 0.022 * shape.height
        spheres = [
            (0.0, -0.2 * r, -0.18 * f, r),
            (0.0, -0.4 * r, 0.35 * f, 0.95 * r),
            (0.0, -0.8 * r, 0.68 * f, 0.6 * r),
        ]
        build.add(f"{side}_foot", outfit.shoes, [(f"{side}_foot", s) for s in spheres], 0.7)


def _trunk(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h, g = shape.height, shape.girth
    s, hip, t = shape.shoulder, shape.hip, shape.torso
    wide = h * (0.052 if shape.woman else 0.045)
    build.group(0.0)
    pelvis = [
        ("pelvis", (x * (hip + 0.006 * h), y, -0.008 * h, wide * g)) for x in (1, -1) for y in (-0.01 * h, 0.05 * h)
    ]
    build.add("torso", outfit.lower, pelvis, 0, pattern=outfit.lower_pattern)
    waist = 0.043 * h * shape.belly
    mid = [("abdomen", (x * 0.042 * h, 0.25 * t, 0.0, waist)) for x in (1, -1)]
    mid.append(("abdomen", (0.0, 0.2 * t, 0.02 * h * shape.belly, waist)))
    low = [
        ("pelvis", (x * hip * 0.9, (0.06 - 0.075 * outfit.shirt_tail) * h, -0.004 * h, (wide + 0.001) * g))
        for x in (1, -1)
    ]
    chest = [("chest", (x * s * 0.6, 0.2 * t, 0.0, 0.055 * h * g)) for x in (1, -1)]
    chest += [("chest", (x * s * 0.45, 0.2 * t, shape.bust, 0.04 * h * g)) for x in (1, -1)]
    top = [("chest", (x * s * 0.86, 0.50 * t - 0.02 * h, 0.0, 0.034 * h * g)) for x in (1, -1)]
    top.append(("chest", (0.0, 0.55 * t, 0.0, 0.026 * h)))
    build.add(
        "torso", outfit.shirt, low + mid + chest[:2], 1 if outfit.shirt_tail else -1, pattern=outfit.shirt_pattern
    )
    build.add("torso", outfit.shirt, mid + chest + top, 2, pattern=outfit.shirt_pattern)
    if outfit.skirt > 0:
        hem = 0.055 * h + 0.035 * h * outfit.skirt
        rows = [("pelvis", (x * hip, 0.03 * h, 0.0, wide * g)) for x in (1, -1)]
        rows += [(f"{side}_thigh", (0.0, -shape.thigh * outfit.skirt, 0.0, hem)) for side in ("left", "right")]
        build.add("skirt", outfit.lower, rows, 0.5, pattern=outfit.lower_pattern)
    if outfit.bag == "backpack":
        build.group(0.0)
        rows = [("chest", (x * 0.05 * h, y * t, -0.085 * h, 0.035 * h)) for x in (1, -1) for y in (0.05, 0.5)]
        build.add("bag", outfit.bag_colour, rows)


def _arms(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h = shape.height * shape.girth
    for side in ("left", "right"):
        build.group(0.035)
        radii, cover = (0.029 * h, 0.023 * h), outfit.arm_cover
        build.limb(f"{side}_upper_arm", outfit.skin, f"{side}_upper_arm", shape.upper_arm, radii)
        if cover > 0:
            build.limb(
                f"{side}_upper_arm", outfit.sleeve, f"{side}_upper_arm", shape.upper_arm, radii,
                (0, min(1.0, cover)), 1, 1.14, outfit.shirt_pattern,
            )  # fmt: skip
        build.group(0.06)
        radii = (0.023 * h, 0.016 * h)
        build.limb(f"{side}_forearm", outfit.skin, f"{side}_forearm", shape.forearm, radii)
        hand, r = shape.hand, 0.017 * shape.height
        palm = [(0.0, -0.3 * hand, 0.0, 1.2 * r), (0.0, -0.6 * hand, 0.006, r), (0.0, -0.9 * hand, 0.2 * r, 0.55 * r)]
        build.add(f"{side}_hand", outfit.glove or outfit.skin, [(f"{side}_hand", s) for s in palm], 0.5)
        thumb = [(0.0, -0.15 * hand, 0.3 * r, 0.6 * r), (0.0, -0.55 * hand, 1.6 * r, 0.45 * r)]
        build.add(f"{side}_hand", outfit.glove or outfit.skin, [(f"{side}_hand", s) for s in thumb], 0.6)
        if cover > 1:
            build.limb(
                f"{side}_forearm", outfit.sleeve, f"{side}_forearm", shape.forearm, radii,
                (0, cover - 1), 1, 1.18, outfit.shirt_pattern,
            )  # fmt: skip


def _head(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h = shape.head
    build.group(0.02)
    neck = [("neck", (0.0, y, 0.0, 0.24 * h)) for y in (-0.12 * h, shape.neck)] + [
        ("head", (0.0, 0.12 * h, -0.02 * h, 0.22 * h))
    ]
    build.add("neck", outfit.skin, neck, -1, back_layer=-1)
    _skull(build, shape, outfit)
    for side, x in (("left", 1.0), ("right", -1.0)):
        ear = [("head", (x * 0.345 * h, y * h, -0.03 * h, 0.055 * h)) for y in (0.41, 0.5)]
        build.add(
            f"{side}_ear",
            _darker(outfit.skin, 0.93),
            ear,
            1.5 if outfit.ears_out else 0.6,
            normals=[(x, 0.0, 0.15)] * 2,
        )
    _face(build, h, outfit)
    if outfit.hat:
        _hat(build, h, outfit)


def _skull(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    """A skull in the colour of the hair; the face is a patch of skin on its front."""
    h, d = shape.head, HEAD_DIRECTIONS
    narrow = 1 - 0.28 * np.clip(-d[:, 1], 0, 1)
    points = np.column_stack((d[:, 0] * 0.33 * h * narrow, 0.5 * h + d[:, 1] * 0.47 * h, d[:, 2] * 0.42 * h * narrow))
    face = d[:, 1] < outfit.hairline + 0.62 * d[:, 2]
    as_rows = [("head", (float(x), float(y), float(z), 0.02 * h)) for x, y, z in points]
    as_normals = [(float(x), float(y), float(z)) for x, y, z in d]
    build.add("face", outfit.skin, as_rows, 0)
    if not outfit.bald:
        swell = 1 + 0.1 * outfit.volume
        scalp = [
            ("head", (r[0] * swell, (r[1] - 0.5 * h) * swell + 0.5 * h, r[2] * swell, r[3]))
            for (_, r), f in zip(as_rows, face, strict=True)
            if not f
        ]
        build.add("hair", outfit.hair, scalp, 1)
    if outfit.hair_length > 0:
        low = 0.45 * h - outfit.hair_length * h
        rows = [("head", (x * 0.26 * h, y, -0.18 * h, 0.16 * h)) for x in (1, -1) for y in (0.55 * h, low)]
        build.add("hair", _darker(outfit.hair, 0.9), rows, -0.5, back_layer=4)
    patch = [(row, normal) for row, normal, f in zip(as_rows, as_normals, face, strict=True) if f]
    build.add("face", outfit.skin, [row for row, _ in patch], 1.2, normals=[normal for _, normal in patch])


def _face(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    dark = _darker(outfit.skin, 0.72)
    for x in (1.0, -1.0):
        facing = [(0.3 * x, 0.0, 0.95)]
        build.add(
            "face",
            (240, 238, 232),
            _decal(x * 0.14 * h, 0.52 * h, 0.385 * h, 0.07 * h, 0.04 * h),
            2,
            normals=facing * 6,
            flat=True,
        )
        build.add(
            "face",
            outfit.eyes,
            _decal(x * 0.14 * h, 0.52 * h, 0.395 * h, 0.036 * h, 0.042 * h),
            2.1,
            normals=facing * 6,
            flat=True,
        )
        brow = _decal(x * 0.145 * h, 0.61 * h, 0.385 * h, 0.085 * h, 0.018 * h)
        build.add("face", _darker(outfit.hair, 0.8), brow, 2.2, normals=facing * 6, flat=True)
    mouth = _decal(0.0, 0.24 * h, 0.385 * h, 0.105 * h, (0.018 + 0.03 * outfit.smile) * h)
    build.add("face", outfit.lips, mouth, 2, normals=[(0.0, 0.0, 1.0)] * 6, flat=True)
    nose = [("head", (0.0, 0.52 * h, 0.40 * h, 0.025 * h)), ("head", (0.0, 0.38 * h, 0.44 * h, 0.055 * h))]
    build.add("face", _darker(outfit.skin, 0.9), nose, 2.5, normals=[(0.0, 0.0, 1.0)] * 2)
    if outfit.beard:
        rows = [
            (x * 0.15 * h, y * h, z * h, 0.06 * h)
            for x, y, z in ((1, 0.1, 0.28), (-1, 0.1, 0.28), (0, 0.04, 0.3), (1, 0.22, 0.28), (-1, 0.22, 0.28))
        ]
        build.add("face", outfit.hair, [("head", row) for row in rows], 1.6, normals=[(0.0, -0.2, 1.0)] * 5)
    if outfit.glasses:
        for x in (1.0, -1.0):
            build.add(
                "face",
                outfit.glasses,
                _decal(x * 0.15 * h, 0.52 * h, 0.4 * h, 0.11 * h, 0.075 * h),
                2.3,
                normals=[(0.2 * x, 0.0, 0.97)] * 6,
                flat=True,
            )
    del dark


def _decal(x: float, y: float, z: float, half_width: float, half_height: float) -> list[tuple[str, Sphere]]:
    angles = np.arange(6) * (np.pi / 3)
    bend = 0.5 * np.sign(x) if abs(x) > 1e-6 else 0.0
    return [
        (
            "head",
            (
                x + half_width * float(np.cos(a)),
                y + half_height * float(np.sin(a)),
                z - bend * half_width * float(np.cos(a)),
                0.0,
            ),
        )
        for a in angles
    ]


def _hat(build: FigureBuilder, h: float, outfit: Outfit) -> None:
    rows = [(x * 0.2 * h, 0.75 * h, z * 0.24 * h, 0.19 * h) for x in (1, -1) for z in (1, -1)] + [
        (0.0, 0.9 * h, 0.0, 0.17 * h)
    ]
    build.add("hat", outfit.hat_colour, [("head", row) for row in rows], 3)
    if outfit.hat == "cap":
        brim = [(x * 0.24 * h, 0.7 * h, 0.35 * h, 0.03 * h) for x in (1, -1)] + [
            (x * 0.16 * h, 0.66 * h, 0.75 * h, 0.03 * h) for x in (1, -1)
        ]
    elif outfit.hat == "brim":
        brim = [
            (float(np.cos(a)) * 0.62 * h, 0.66 * h, float(np.sin(a)) * 0.66 * h, 0.02 * h)
            for a in np.arange(8) * np.pi / 4
        ]
    else:
        return
    build.add("hat", _darker(outfit.hat_colour, 0.85), [("head", row) for row in brim], 3.2, back_layer=-0.3)


def _darker(colour: Colour, factor: float) -> Colour:
    return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
