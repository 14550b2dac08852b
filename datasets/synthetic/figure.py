"""A posed body, dressed and equipped, becomes parts to draw.

World frame: x right, y up, z towards the viewer of an unturned camera; metres.
"""

from __future__ import annotations

import numpy as np

from datasets.synthetic.body import FRAME, Array, Shape, pose_frames
from datasets.synthetic.head import FACE_NORMALS, FACE_POINTS, add_head
from datasets.synthetic.parts import Figure, FigureBuilder, Sphere
from datasets.synthetic.pose import Action
from datasets.synthetic.props import add_props
from datasets.synthetic.wardrobe import Outfit

_JOINTS = [
    FRAME[f"{side}_{name}"]
    for name in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
    for side in ("left", "right")
]
"""The segments that begin at COCO's keypoints 5 to 16."""


def build_person(
    rng: np.random.Generator, shape: Shape, action: Action, yaw: float, outfit: Outfit, position: Array
) -> Figure:
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
    body, _ = build.place(rotations, origins)
    ground = float((body[:, 1] - body[:, 3]).min())
    lift = action.lift + add_props(build, rng, shape, action, -ground)
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    rotations = np.concatenate((rotations, [[[c, 0, s], [0, 1, 0], [-s, 0, c]]]))
    origins = np.concatenate((origins, [[0.0, ground - lift, 0.0]]))
    spheres, normals = build.place(rotations, origins)
    move = np.asarray(position, dtype=float) + np.array((0.0, lift - ground, 0.0))
    spheres[:, :3] += move
    keypoints, key_normals = keypoints_of(shape, rotations, origins)
    head = rotations[FRAME["head"]]
    ways = np.stack((head[:, 2], head[:, 0], -head[:, 0]))
    return Figure(spheres, normals, build.parts, build.bias, keypoints + move, key_normals, ways)


def keypoints_of(shape: Shape, rotations: Array, origins: Array) -> tuple[Array, Array]:
    """COCO's keypoints (17, 3) in world metres, and the directions (17, 3) in which those of the face look."""
    head = FRAME["head"]
    face = np.array(FACE_POINTS) * shape.head @ rotations[head].T + origins[head]
    key_normals = np.zeros((17, 3))
    key_normals[:5] = np.array(FACE_NORMALS) @ rotations[head].T
    return np.concatenate((face, origins[_JOINTS])), key_normals


def _legs(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h, cover, wide = shape.height * shape.girth, outfit.leg_cover, outfit.leg_width
    for side in ("left", "right"):
        thigh, shank, foot = (f"{side}_{name}" for name in ("thigh", "shank", "foot"))
        build.group(-0.03)
        radii = (0.05 * h, 0.034 * h)
        build.limb(thigh, outfit.skin, thigh, shape.thigh, radii)
        span = (0, min(1.0, cover))
        build.limb(thigh, outfit.lower, thigh, shape.thigh, radii, span, 1, wide, outfit.lower_pattern)
        build.group(0.0)
        radii = (0.034 * h, 0.022 * h)
        build.limb(shank, outfit.skin, shank, shape.shank, radii)
        if outfit.sock > 0:
            build.limb(shank, outfit.sock_colour, shank, shape.shank, radii, (1 - outfit.sock, 1), 0.5, 1.03)
        if cover > 1:
            build.limb(shank, outfit.lower, shank, shape.shank, radii, (0, cover - 1), 1, wide, outfit.lower_pattern)
        f, r = shape.foot, 0.023 * shape.height
        sole: list[Sphere] = [
            (0.0, -0.2 * r, -0.18 * f, r),
            (0.0, -0.4 * r, 0.35 * f, r),
            (0.0, -0.8 * r, 0.66 * f, 0.7 * r),
        ]
        build.add(foot, outfit.shoes, foot, sole, 0.7)


def _trunk(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    """Hips, belly, chest and skirt; tops hang over trousers or are tucked in."""
    h, s, hip, t, w = shape.height, shape.shoulder, shape.hip, shape.torso, outfit.shirt_width
    wide = h * (0.053 if shape.woman else 0.046) * shape.girth
    pairs = (1.0, -1.0)
    build.group(0.0)
    pelvis: list[Sphere] = [(x * (hip - 0.004 * h), y, -0.008 * h, wide) for y in (-0.01 * h, 0.05 * h) for x in pairs]
    build.add("torso", outfit.lower, "pelvis", pelvis, 0, pattern=outfit.lower_pattern)
    waist = 0.043 * h * shape.belly * w
    tail = (0.06 - 0.075 * outfit.shirt_tail) * h
    low = [("pelvis", (x * hip * 0.8, tail, -0.004 * h, wide * (1.02 if outfit.shirt_tail else 0.9))) for x in pairs]
    mid = [("abdomen", (x * 0.042 * h, 0.25 * t, 0.0, waist)) for x in pairs]
    mid.append(("abdomen", (0.0, 0.2 * t, 0.02 * h * shape.belly, waist)))
    chest = [("chest", (x * s * 0.6, 0.2 * t, 0.0, 0.055 * h * shape.girth * w)) for x in pairs]
    bust = [("chest", (x * s * 0.45, 0.2 * t, shape.bust, 0.042 * h * shape.girth * w)) for x in pairs]
    top = [("chest", (x * s * 0.84, 0.58 * t - 0.026 * h, -0.004 * h, 0.038 * h * w)) for x in pairs]
    top += [("chest", (x * 0.02 * h, 0.58 * t, -0.01 * h, 0.036 * h)) for x in pairs]
    top.append(("neck", (0.0, 0.012 * h, -0.004 * h, 0.034 * h)))
    build.join("torso", outfit.shirt, low + mid + chest, 1 if outfit.shirt_tail else -1, pattern=outfit.shirt_pattern)
    build.join("torso", outfit.shirt, mid + chest + bust + top, 2, pattern=outfit.shirt_pattern)
    if outfit.jacket:
        front = [("chest", (0.0, 0.55 * t, 0.025 * h, 0.012 * h)), ("chest", (0.0, 0.2 * t, 0.06 * h, 0.012 * h))]
        front.append(("abdomen", (0.0, 0.1 * t, 0.06 * h, 0.02 * h)))
        build.join("torso", outfit.jacket, front, 3, normals=[(0.0, 0.0, 1.0)] * 3)
    if outfit.skirt > 0:
        hem = 0.055 * h + 0.035 * h * outfit.skirt
        rows = [("pelvis", (x * hip, 0.03 * h, 0.0, wide)) for x in pairs]
        rows += [(f"{side}_thigh", (0.0, -shape.thigh * outfit.skirt, 0.0, hem)) for side in ("left", "right")]
        build.join("skirt", outfit.lower, rows, 0.5, pattern=outfit.lower_pattern)
    if outfit.bag == "backpack":
        build.group(0.0)
        sack: list[Sphere] = [(x * 0.05 * h, y * t, -0.085 * h, 0.035 * h) for y in (0.05, 0.5) for x in pairs]
        build.add("bag", outfit.bag_colour, "chest", sack)


def _arms(build: FigureBuilder, shape: Shape, outfit: Outfit) -> None:
    h, cover, loose = shape.height * shape.girth, outfit.arm_cover, 1.06 * outfit.shirt_width
    for side in ("left", "right"):
        upper, fore, hand = (f"{side}_{name}" for name in ("upper_arm", "forearm", "hand"))
        build.group(0.035)
        radii = (0.031 * h, 0.024 * h)
        build.limb(upper, outfit.skin, upper, shape.upper_arm, radii)
        if cover > 0:
            span = (0, min(1.0, cover))
            build.limb(upper, outfit.sleeve, upper, shape.upper_arm, radii, span, 1, loose, outfit.shirt_pattern)
        build.group(0.06)
        radii = (0.024 * h, 0.017 * h)
        build.limb(fore, outfit.skin, fore, shape.forearm, radii)
        _hand(build, shape, outfit, hand)
        if cover > 1:
            build.limb(fore, outfit.sleeve, fore, shape.forearm, radii, (0, cover - 1), 1, loose, outfit.shirt_pattern)


def _hand(build: FigureBuilder, shape: Shape, outfit: Outfit, hand: str) -> None:
    length, r = shape.hand, 0.017 * shape.height
    palm: list[Sphere] = [
        (0.0, -0.3 * length, 0.0, 1.3 * r),
        (0.0, -0.6 * length, 0.006, r),
        (0.0, -0.95 * length, 0.2 * r, 0.55 * r),
    ]
    thumb: list[Sphere] = [(0.0, -0.15 * length, 0.3 * r, 0.6 * r), (0.0, -0.55 * length, 1.6 * r, 0.45 * r)]
    build.add(hand, outfit.glove or outfit.skin, hand, palm, 0.5)
    build.add(hand, outfit.glove or outfit.skin, hand, thumb, 0.6)
