"""A posed body, dressed and equipped, becomes parts to draw.

World frame: x right, y up, z towards the viewer of an unturned camera; metres.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from datasets.synthetic.human.appearance import Outfit
from datasets.synthetic.human.body import FRAME, FRAMES, SIDES, Shape, pose_frames
from datasets.synthetic.human.head import FACE_NORMALS, FACE_POINTS, add_head
from datasets.synthetic.human.pose import Action
from datasets.synthetic.human.props import add_props
from datasets.synthetic.rendering.primitives import Array, Colour, Figure, FigureBuilder, Pattern, Sphere, rotation

_LIMBS = ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
_JOINTS = [FRAME[f"{side}_{name}"] for name in _LIMBS for side in SIDES]
"""The frames that begin at COCO's keypoints 5 to 16."""


def build_person(rng: Generator, shape: Shape, action: Action, yaw: float, outfit: Outfit, position: Array) -> Figure:
    """Parts and keypoints of a person and of the things that belong to the action.

    Args:
        rng: draws the things.
        shape: the body.
        action: the pose.
        yaw: degrees, 0 faces world +z.
        outfit: clothes, skin and hair.
        position: (3,) world metres of the ground below the person.
    """
    build = FigureBuilder()
    for add in (_legs, _trunk, _arms, add_head):
        add(build, shape, outfit)
    rotations, origins = pose_frames(shape, action.pose, yaw)
    body, _ = build.place(FRAMES, rotations, origins)
    ground = float((body[:, 1] - body[:, 3]).min())
    lift = action.lift + add_props(build, rng, shape, action, -ground)
    rotations = np.concatenate((rotations, [rotation(1, yaw)]))
    origins = np.concatenate((origins, [[0.0, ground - lift, 0.0]]))
    spheres, normals = build.place((*FRAMES, "ground"), rotations, origins)
    move = position + np.array((0.0, lift - ground, 0.0))
    spheres[:, :3] += move
    head = rotations[FRAME["head"]]
    face = np.array(FACE_POINTS) * shape.head @ head.T + origins[FRAME["head"]]
    keypoints = np.concatenate((face, origins[_JOINTS]))
    key_normals = np.concatenate((np.array(FACE_NORMALS) @ head.T, np.zeros((12, 3))))
    ways = np.stack((head[:, 2], head[:, 0], -head[:, 0]))
    return Figure(spheres, normals, build.parts, build.bias, keypoints + move, key_normals, ways)


def _limb(
    build: FigureBuilder,
    name: str,
    colour: Colour,
    length: float,
    radii: tuple[float, float],
    span: tuple[float, float] = (0.0, 1.0),
    layer: float = 0.0,
    grow: float = 1.0,
    pattern: Pattern | None = None,
) -> None:
    """A tapered piece of a limb, from fraction ``span[0]`` to ``span[1]`` of its length, fuller at a third."""
    spheres: list[Sphere] = []
    for at in (span[0], 0.35, span[1]) if span[0] < 0.35 < span[1] else span:
        radius = radii[0] + (radii[1] - radii[0]) * at + 0.12 * radii[0] * (1 - abs(at - 0.35) / 0.65)
        spheres.append((0.0, -length * at, 0.0, radius * grow))
    build.add(name, colour, [(name, spheres)], layer, pattern=pattern)


def _legs(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h, cover = shape.height * shape.girth, outfit.leg_cover
    f, r = shape.foot, 0.023 * shape.height
    cloth = (1, outfit.leg_width, outfit.lower_pattern)
    for side in SIDES:
        thigh, shank, foot = (f"{side}_{name}" for name in ("thigh", "shank", "foot"))
        build.group(-0.03)
        radii = (0.05 * h, 0.034 * h)
        _limb(build, thigh, outfit.skin, shape.thigh, radii)
        _limb(build, thigh, outfit.lower, shape.thigh, radii, (0, min(1.0, cover)), *cloth)
        build.group()
        radii = (0.034 * h, 0.022 * h)
        _limb(build, shank, outfit.skin, shape.shank, radii)
        if outfit.sock > 0:
            _limb(build, shank, outfit.sock_colour, shape.shank, radii, (1 - outfit.sock, 1), 0.5, 1.03)
        if cover > 1:
            _limb(build, shank, outfit.lower, shape.shank, radii, (0, cover - 1), *cloth)
        sole = [(0.0, -0.2 * r, -0.18 * f, r), (0.0, -0.4 * r, 0.35 * f, r), (0.0, -0.8 * r, 0.66 * f, 0.7 * r)]
        build.add(foot, outfit.shoes, [(foot, sole)], 0.7)


def _trunk(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    """Hips, belly, chest and skirt; tops hang over trousers or are tucked in."""
    h, s, hip, t, w = shape.height, shape.shoulder, shape.hip, shape.torso, outfit.shirt_width
    wide = h * (0.053 if shape.woman else 0.046) * shape.girth
    waist = 0.043 * h * shape.belly * w
    tail = (0.06 - 0.075 * outfit.shirt_tail) * h
    pairs = (1.0, -1.0)
    build.group()
    pelvis = [(x * (hip - 0.004 * h), y, -0.008 * h, wide) for y in (-0.01 * h, 0.05 * h) for x in pairs]
    build.add("torso", outfit.lower, [("pelvis", pelvis)], pattern=outfit.lower_pattern)
    low = [(x * hip * 0.8, tail, -0.004 * h, wide * (1.02 if outfit.shirt_tail else 0.9)) for x in pairs]
    belly = [(x * 0.042 * h, 0.25 * t, 0.0, waist) for x in pairs]
    belly.append((0.0, 0.2 * t, 0.02 * h * shape.belly, waist))
    chest = [(x * s * 0.6, 0.2 * t, 0.0, 0.055 * h * shape.girth * w) for x in pairs]
    shirt = [("pelvis", low), ("abdomen", belly), ("chest", chest)]
    build.add("torso", outfit.shirt, shirt, 1 if outfit.shirt_tail else -1, pattern=outfit.shirt_pattern)
    top = [(x * s * 0.45, 0.2 * t, shape.bust, 0.042 * h * shape.girth * w) for x in pairs]
    top += [(x * s * 0.84, 0.58 * t - 0.026 * h, -0.004 * h, 0.038 * h * w) for x in pairs]
    top += [(x * 0.02 * h, 0.58 * t, -0.01 * h, 0.036 * h) for x in pairs]
    collar = [(0.0, 0.012 * h, -0.004 * h, 0.034 * h)]
    shirt = [("abdomen", belly), ("chest", chest + top), ("neck", collar)]
    build.add("torso", outfit.shirt, shirt, 2, pattern=outfit.shirt_pattern)
    if outfit.jacket:
        opening = [
            ("chest", [(0.0, 0.55 * t, 0.025 * h, 0.012 * h), (0.0, 0.2 * t, 0.06 * h, 0.012 * h)]),
            ("abdomen", [(0.0, 0.1 * t, 0.06 * h, 0.02 * h)]),
        ]
        build.add("torso", outfit.jacket, opening, 3, normals=[(0.0, 0.0, 1.0)] * 3)
    if outfit.skirt > 0:
        hem = [(0.0, -shape.thigh * outfit.skirt, 0.0, 0.055 * h + 0.035 * h * outfit.skirt)]
        waistband = [(x * hip, 0.03 * h, 0.0, wide) for x in pairs]
        skirt = [("pelvis", waistband), ("left_thigh", hem), ("right_thigh", hem)]
        build.add("skirt", outfit.lower, skirt, 0.5, pattern=outfit.lower_pattern)
    if outfit.bag == "backpack":
        build.group()
        sack = [(x * 0.05 * h, y * t, -0.085 * h, 0.035 * h) for y in (0.05, 0.5) for x in pairs]
        build.add("bag", outfit.bag_colour, [("chest", sack)])


def _arms(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h, cover = shape.height * shape.girth, outfit.arm_cover
    length, r = shape.hand, 0.017 * shape.height
    cloth = (1, 1.06 * outfit.shirt_width, outfit.shirt_pattern)
    palm = [
        (0.0, -0.3 * length, 0.0, 1.3 * r),
        (0.0, -0.6 * length, 0.006, r),
        (0.0, -0.95 * length, 0.2 * r, 0.55 * r),
    ]
    thumb = [(0.0, -0.15 * length, 0.3 * r, 0.6 * r), (0.0, -0.55 * length, 1.6 * r, 0.45 * r)]
    for side in SIDES:
        upper, fore, hand = (f"{side}_{name}" for name in ("upper_arm", "forearm", "hand"))
        build.group(0.035)
        radii = (0.031 * h, 0.024 * h)
        _limb(build, upper, outfit.skin, shape.upper_arm, radii)
        if cover > 0:
            _limb(build, upper, outfit.sleeve, shape.upper_arm, radii, (0, min(1.0, cover)), *cloth)
        build.group(0.06)
        radii = (0.024 * h, 0.017 * h)
        _limb(build, fore, outfit.skin, shape.forearm, radii)
        build.add(hand, outfit.glove or outfit.skin, [(hand, palm)], 0.5)
        build.add(hand, outfit.glove or outfit.skin, [(hand, thumb)], 0.6)
        if cover > 1:
            _limb(build, fore, outfit.sleeve, shape.forearm, radii, (0, cover - 1), *cloth)
