"""Posture and facing by rules with a margin: near a limit, nothing is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sia.description.body import Body

SHOULDERS = ("left_shoulder", "right_shoulder")
HIPS = ("left_hip", "right_hip")
KNEES = ("left_knee", "right_knee")
ANKLES = ("left_ankle", "right_ankle")
FACING = ("towards the camera", "away from the camera", "sideways")
MARGIN = 0.2
"""Least distance to the nearest limit, as a fraction of what each rule calls far."""


class Answer(NamedTuple):
    """What a rule says, how far from its limits (0 to 1, as confidence 0.5 to 1), and on which keypoints."""

    label: str
    confidence: float
    joints: tuple[str, ...]


def posture(body: Body) -> Answer | None:
    """Standing, sitting, crouching, bending, lying; None where keypoints are missing or rules are near their limits.

    Trunk and legs are measured as seen in the image, in trunk lengths: a lying trunk is flat, legs of someone who
    stands reach far below the hips, thighs of someone who sits are short or flat while the lower legs hang.
    """
    trunk = (*SHOULDERS, *HIPS)
    if not body.has(*trunk):
        return None
    lean = _from_vertical(body, HIPS, SHOULDERS)
    knees, ankles = [k for k in KNEES if body.has(k)], [a for a in ANKLES if body.has(a)]
    if not knees:
        return _answer("lying", [_ramp(lean, 60, 85)], trunk)
    joints = (*trunk, *knees, *ankles)
    thigh = _drop(body, HIPS, knees)
    if not ankles:
        return _best([_answer("lying", [_ramp(lean, 65, 85), _ramp(abs(thigh), 0.4, 0.1)], joints)])
    shank, legs = _drop(body, knees, ankles), _drop(body, HIPS, ankles)
    rules = {
        "standing": [_ramp(lean, 40, 20), _ramp(thigh, 0.5, 0.8), _ramp(shank, 0.45, 0.75), _ramp(legs, 1.1, 1.5)],
        "sitting": [_ramp(lean, 45, 25), _ramp(thigh, 0.5, 0.25), _ramp(shank, 0.4, 0.7), _ramp(legs, 0.4, 0.7)],
        "crouching": [_ramp(lean, 65, 45), _ramp(legs, 0.6, 0.3), _ramp(shank, 0.2, 0.5), _ramp(thigh, 0.2, -0.1)],
        "bending": [_ramp(lean, 40, 65), _ramp(thigh, 0.4, 0.7), _ramp(shank, 0.4, 0.7), _ramp(legs, 0.9, 1.3)],
        "lying": [_ramp(lean, 55, 75), _ramp(abs(legs), 0.7, 0.3)],
    }
    return _best([_answer(label, shares, joints) for label, shares in rules.items()])


def facing(body: Body) -> Answer | None:
    """One of `FACING`, by the order and the distance of the shoulders, and of the hips where they are there."""
    pairs = [pair for pair in (SHOULDERS, HIPS) if body.has(*pair)]
    if SHOULDERS not in pairs:
        return None
    widths = [float(body.point(left)[0] - body.point(right)[0]) / body.trunk for left, right in pairs]
    joints = tuple(name for pair in pairs for name in pair)
    same = [_ramp(width, 0.05, 0.3) for width in widths[1:]], [_ramp(-width, 0.05, 0.3) for width in widths[1:]]
    return _best(
        [
            _answer(FACING[0], [_ramp(widths[0], 0.25, 0.5), *same[0]], joints),
            _answer(FACING[1], [_ramp(-widths[0], 0.25, 0.5), *same[1]], joints),
            _answer(FACING[2], [_ramp(abs(width), 0.2, 0.0) for width in widths], joints),
        ]
    )


def _best(answers: Sequence[Answer | None]) -> Answer | None:
    return max((answer for answer in answers if answer is not None), key=lambda a: a.confidence, default=None)


def _answer(label: str, shares: Sequence[float], joints: tuple[str, ...]) -> Answer | None:
    """The weakest condition decides."""
    margin = min(shares)
    return Answer(label, 0.5 + 0.5 * margin, joints) if margin >= MARGIN else None


def _ramp(value: float, limit: float, far: float) -> float:
    """0 at the limit, 1 from `far` on; `far` may be above or below it."""
    return float(np.clip((value - limit) / (far - limit), 0, 1))


def _drop(body: Body, upper: Sequence[str], lower: Sequence[str]) -> float:
    """How far the lower keypoints are below the upper ones, in trunk lengths."""
    return float(body.middle(lower)[1] - body.middle(upper)[1]) / body.trunk


def _from_vertical(body: Body, low: Sequence[str], high: Sequence[str]) -> float:
    """Degrees, 0 upright, 90 flat, more upside down."""
    way = body.middle(high) - body.middle(low)
    return math.degrees(math.atan2(abs(float(way[0])), -float(way[1])))
