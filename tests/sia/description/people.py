"""People drawn by hand, whose facts are known."""

from __future__ import annotations

import numpy as np

from sia.description.body import Body
from sia.skeletons.skeleton import COCO_PERSON

STANDING = {
    "nose": (100, 40), "left_eye": (104, 36), "right_eye": (96, 36), "left_ear": (109, 38), "right_ear": (91, 38),
    "left_shoulder": (125, 70), "right_shoulder": (75, 70), "left_elbow": (135, 110), "right_elbow": (65, 110),
    "left_wrist": (138, 150), "right_wrist": (62, 150), "left_hip": (115, 150), "right_hip": (85, 150),
    "left_knee": (116, 210), "right_knee": (84, 210), "left_ankle": (117, 270), "right_ankle": (83, 270),
}  # fmt: skip
"""Seen from the front, so that the left side is on the image's right."""
RAISED = {**STANDING, "left_elbow": (165, 70), "left_wrist": (165, 30)}
"""The left arm at a right angle, the hand above the head's height."""
SITTING = {
    **STANDING, "left_knee": (125, 160), "right_knee": (75, 160), "left_ankle": (125, 215), "right_ankle": (75, 215),
}  # fmt: skip
LYING = {name: (y, x - 100) for name, (x, y) in STANDING.items()}
BEHIND = {name: (200 - x, y) for name, (x, y) in STANDING.items()}


def arrays(pose: dict[str, tuple[float, float]], unseen: tuple[str, ...] = ()) -> tuple[np.ndarray, ...]:
    """Box, keypoints and confidences."""
    points = np.array([pose[name] for name in COCO_PERSON.names], dtype=np.float64)
    confidences = np.array([0.0 if name in unseen else 0.95 for name in COCO_PERSON.names])
    shown = points[confidences > 0]
    return np.concatenate([shown.min(0) - 8, shown.max(0) + 8]), points, confidences


def body(pose: dict[str, tuple[float, float]], unseen: tuple[str, ...] = (), error: float = np.nan) -> Body:
    box, points, confidences = arrays(pose, unseen)
    return Body(COCO_PERSON, box, points, confidences, np.full(17, error**2), 0.3)
