"""The 17 joints of Human3.6M, in the order in which 3D poses are published, and how they hang together."""

from __future__ import annotations

from typing import NamedTuple

from sia.skeletons.skeleton import COCO_PERSON


class Joint(NamedTuple):
    """A joint: its name, its parent's place in `JOINTS` (-1: none), and COCO's keypoint of the same place, if any."""

    name: str
    parent: int
    keypoint: str | None = None


JOINTS = (
    Joint("Hips", -1),
    Joint("RightHip", 0, "right_hip"), Joint("RightKnee", 1, "right_knee"), Joint("RightAnkle", 2, "right_ankle"),
    Joint("LeftHip", 0, "left_hip"), Joint("LeftKnee", 4, "left_knee"), Joint("LeftAnkle", 5, "left_ankle"),
    Joint("Spine", 0), Joint("Neck", 7), Joint("Nose", 8, "nose"), Joint("Head", 9),
    Joint("LeftShoulder", 8, "left_shoulder"), Joint("LeftElbow", 11, "left_elbow"),
    Joint("LeftWrist", 12, "left_wrist"),
    Joint("RightShoulder", 8, "right_shoulder"), Joint("RightElbow", 14, "right_elbow"),
    Joint("RightWrist", 15, "right_wrist"),
)  # fmt: skip

PLACE = {joint.name: index for index, joint in enumerate(JOINTS)}

IN_COCO = tuple(COCO_PERSON.names.index(joint.keypoint) if joint.keypoint else -1 for joint in JOINTS)
"""Which of COCO's keypoints each joint is; -1 for the four in the middle of the body."""

MIRRORED = tuple(
    PLACE[joint.name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")] for joint in JOINTS
)
"""The permutation that swaps left and right."""

BODY_SHARE = 0.776
"""Hips to neck, thigh and shank, as a share of stature (Winter, Biomechanics and Motor Control, section 4.1)."""
