from __future__ import annotations

import numpy as np

from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON
from sia.tracking.face_blur import FaceBlur


def walker(x: float, score: float) -> People:
    box = np.array([[x, 20, x + 40, 150]], np.float32)
    points = np.full((1, 17, 2), (x + 20, 60), np.float32)
    points[0, :5] = (x + np.array([20, 24, 16, 28, 12]))[:, None] * (1, 0) + (0, 36)
    return People(box, np.array([score], np.float32), points, np.full((1, 17), 0.9, np.float32))


def test_a_face_stays_blurred_while_its_person_is_missed() -> None:
    blur, noise = FaceBlur(COCO_PERSON, 0.6), np.random.default_rng(0)
    for t in range(30):
        frame = noise.integers(0, 256, (160, 300, 3), dtype=np.uint8)
        before, x = frame.copy(), 20 + 4 * t
        score = 0.05 if 12 <= t < 18 else 0.1 if t > 20 else 0.25  # not found, too doubtful to begin with, found
        blurred = blur.blur(frame, walker(x, score), t / 25)
        assert (frame == before).all()
        changed = (blurred != frame).any(-1)
        assert changed[26:46, x + 10 : x + 30].all(), t
        assert not changed[100:].any()
    for t in range(30, 50):
        changed = (blur.blur(frame, walker(0, 0.0), t / 25) != frame).any()
    assert not changed
