"""The poses of the synthetic people: legs, trunk, arms and head are sampled separately, then kept inside the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from datasets.synthetic.human.body import SIDES, Pose, limited

_Pair: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Action:
    """A sampled pose.

    Attributes:
        name: such as ``walk``.
        pose: degrees, inside the limits.
        lift: metres between the lowest point of the body and the ground (a jump).
    """

    name: str
    pose: Pose
    lift: float = 0.0


def sample_action(rng: Generator) -> Action:
    """Samples one action, its legs and trunk, then arms and head that suit it."""
    weights = np.array([weight for weight, _, _ in _ACTIONS.values()])
    name = str(rng.choice(list(_ACTIONS), p=weights / sum(weights)))
    _, body, arms = _ACTIONS[name]
    pose = body(rng)
    if arms is not None:
        pose |= _both_arms(rng, str(rng.choice(_ARM_SETS[arms])))
    _turn_head(rng, pose)
    if rng.random() < 0.5:
        pose = mirrored(pose)
    _level_feet(rng, pose, flat=name in _ON_FEET)
    jump = rng.uniform(0.05, 0.6) if name == "jump" else 0.0
    return Action(name, limited(pose), jump)


def mirrored(pose: Pose) -> Pose:
    """Left and right trade places."""
    swap = {"left": "right", "right": "left"}
    result = {}
    for name, angle in pose.items():
        side, _, rest = name.partition("_")
        if side in swap:
            result[f"{swap[side]}_{rest}"] = angle
        else:
            result[name] = -angle if name in ("lean", "turn", "tilt", "look", "roll") else angle
    return result


def _both_arms(rng: Generator, name: str) -> Pose:
    """Both arms do the same, or each something of its own where ``name`` is ``mixed``."""
    weights = np.array(list(_MIXED.values())) / sum(_MIXED.values())
    pose: Pose = {}
    for side in SIDES:
        arm = _ARMS[str(rng.choice(list(_MIXED), p=weights)) if name == "mixed" else name]
        angles = np.array(arm[:4]) + rng.normal(0, arm[4], 4)
        joints = ("shoulder_raise", "shoulder_swing", "shoulder_twist", "elbow")
        pose |= {f"{side}_{joint}": float(angle) for joint, angle in zip(joints, angles, strict=True)}
        pose[f"{side}_wrist"] = rng.normal(0, 18)
    return pose


def _turn_head(rng: Generator, pose: Pose) -> None:
    """Heads turn towards something, and stay up when the trunk bends."""
    trunk = pose["pitch"] + pose["bend"]
    pose["nod"] = rng.normal(6, 14) - 0.45 * float(np.clip(trunk, -60, 90))
    pose["look"] = rng.normal(0, 28)
    pose["tilt"] = rng.normal(0, 8)


def _level_feet(rng: Generator, pose: Pose, flat: bool) -> None:
    """Turns each foot towards level where it stands, or lets it hang."""
    for side in SIDES:
        tip = pose["pitch"] - pose[f"{side}_hip_raise"] + pose[f"{side}_knee"]
        pose[f"{side}_ankle"] = (tip if flat else 0.4 * tip) + rng.normal(0, 6)


def _trunk(rng: Generator, bend: float = 4, spread: float = 7) -> Pose:
    return {
        "bend": rng.normal(bend, spread),
        "lean": rng.normal(0, 5),
        "turn": rng.normal(0, 9),
        "pitch": rng.normal(0, 3),
        "roll": rng.normal(0, 2),
    }


def _leg(
    rng: Generator, side: str, raised: float, swing: float = 5, knee: float = 5, twist: float = 8, noise: float = 4
) -> Pose:
    return {
        f"{side}_hip_raise": rng.normal(raised, noise),
        f"{side}_hip_swing": rng.normal(swing, noise),
        f"{side}_hip_twist": rng.normal(twist, 8),
        f"{side}_knee": abs(rng.normal(knee, noise)),
    }


def _legs(rng: Generator, draw: Callable[[], tuple[float, ...]]) -> Pose:
    """Both legs, each with its own draw of what `_leg` takes."""
    return _leg(rng, "left", *draw()) | _leg(rng, "right", *draw())


def _bent_legs(
    rng: Generator, knee: Callable[[], float], raised: float, per_knee: float, swing: float, twist: float, noise: float
) -> Pose:
    """Hips raised by ``raised`` degrees and by a fraction of the knee's angle."""
    pose: Pose = {}
    for side in SIDES:
        angle = knee()
        pose |= _leg(rng, side, raised + per_knee * angle, swing, angle, twist, noise)
    return pose


def _stand(rng: Generator) -> Pose:
    """Weight on both legs or on one, feet somewhat apart."""
    apart = abs(rng.normal(6, 5))
    pose = _trunk(rng) | _legs(rng, lambda: (apart, 90, 4, 10, 3))
    if rng.random() < 0.4:
        pose |= _leg(rng, "left", rng.uniform(5, 25), 30, rng.uniform(10, 40))
    return pose


def _walk(rng: Generator) -> Pose:
    return _stride(rng, 28, 3, 45) | _swinging_arms(rng, (20, 10), (10, 8), (5, 45), (15, 12))


def _run(rng: Generator) -> Pose:
    return _stride(rng, 60, 10, 115) | _swinging_arms(rng, (42, 14), (15, 10), (60, 120), (25, 15))


def _stride(rng: Generator, reach: float, lean: float, knee: float) -> Pose:
    phase = rng.uniform(0.25, 1.0)
    pose = _trunk(rng, lean) | {"pitch": rng.normal(lean, 4), "turn": rng.normal(-8, 6) * phase}
    pose |= _leg(rng, "left", reach * phase + lean, 5, rng.uniform(0.1, 0.8) * knee * 0.6)
    return pose | _leg(rng, "right", -0.6 * reach * phase + lean, 5, rng.uniform(0.3, 1.0) * knee)


def _swinging_arms(rng: Generator, raised: _Pair, swing: _Pair, elbow: _Pair, twist: _Pair) -> Pose:
    """One arm ahead, one behind. Mean and spread of each angle; lowest and highest of the elbow's."""
    pose = {}
    for side, sign in SIDES.items():
        pose[f"{side}_shoulder_raise"] = rng.normal(-sign * raised[0], raised[1])
        pose[f"{side}_shoulder_swing"] = rng.normal(*swing)
        pose[f"{side}_elbow"] = rng.uniform(*elbow)
        pose[f"{side}_shoulder_twist"] = rng.normal(*twist)
    return pose


def _lunge(rng: Generator) -> Pose:
    """A wide stance: tennis, skating, surfing, skiing, throwing."""
    depth = rng.uniform(15, 60)
    pose = _trunk(rng, 0.45 * depth, 12) | {"turn": rng.normal(0, 20), "pitch": rng.normal(0.25 * depth, 8)}
    for side in SIDES:
        wide, knee = rng.uniform(20, 80), depth * rng.uniform(0.8, 1.9)
        pose |= _leg(rng, side, 0.25 * depth + depth * rng.uniform(0.6, 1.1), wide, knee, 20, 8)
    return pose


def _kick(rng: Generator) -> Pose:
    pose = _trunk(rng, 5, 10) | {"pitch": rng.normal(-8, 8)}
    pose |= _leg(rng, "left", rng.uniform(30, 100), 20, rng.uniform(5, 60), noise=10)
    return pose | _leg(rng, "right", 0, 10, rng.uniform(5, 35))


def _jump(rng: Generator) -> Pose:
    pose = _trunk(rng, 12, 15) | {"pitch": rng.normal(5, 15), "roll": rng.normal(0, 10)}
    return pose | _legs(rng, lambda: (rng.uniform(-10, 90), rng.uniform(0, 60), rng.uniform(10, 120)))


def _sit(rng: Generator) -> Pose:
    pitch = rng.normal(-6, 10)
    pose = _trunk(rng, 14, 12) | {"pitch": pitch}
    apart = abs(rng.normal(14, 10))
    pose |= _legs(rng, lambda: (86 + pitch, apart, rng.uniform(55, 110), 5, 6))
    if rng.random() < 0.2:
        pose |= _leg(rng, "left", 100 + pitch, -8, rng.uniform(70, 100), 20)
    return pose


def _ride(rng: Generator) -> Pose:
    """On a bicycle, a motorbike or a horse."""
    pitch = rng.uniform(5, 35)
    pose = _trunk(rng, 18, 8) | {"pitch": pitch}
    for side in SIDES:
        raised = rng.uniform(35, 90) + pitch
        pose |= _leg(rng, side, raised, 20, raised * rng.uniform(0.7, 1.1), 10, 5)
    return pose


def _sit_floor(rng: Generator) -> Pose:
    pose = _trunk(rng, 25, 12) | {"pitch": rng.normal(-8, 8)}
    if rng.random() < 0.5:
        return pose | _legs(rng, lambda: (88, 48, 132, 40, 6))
    return pose | _bent_legs(rng, lambda: rng.uniform(0, 115), 80, 0.45, 15, 10, 6)


def _crouch(rng: Generator) -> Pose:
    pitch = rng.uniform(10, 45)
    pose = _trunk(rng, 30, 12) | {"pitch": pitch}
    return pose | _bent_legs(rng, lambda: rng.uniform(95, 142), pitch, 0.75, 22, 15, 5)


def _kneel(rng: Generator) -> Pose:
    pose = _trunk(rng, 20, 14) | {"pitch": rng.normal(8, 8)} | _leg(rng, "left", 5, 15, 90)
    both = rng.random() < 0.4
    return pose | (_leg(rng, "right", 5, 15, 92) if both else _leg(rng, "right", 90, 15, 88))


def _bend_over(rng: Generator) -> Pose:
    pitch = rng.uniform(20, 75)
    pose = _trunk(rng, 35, 15) | {"pitch": pitch}
    return pose | _bent_legs(rng, lambda: abs(rng.normal(15, 15)), pitch, 0.5, 12, 8, 4)


def _lie(rng: Generator) -> Pose:
    pose = _trunk(rng, 5, 10) | {"pitch": float(rng.choice([-90, 90, -78])) + rng.normal(0, 5)}
    if rng.random() < 0.3:
        pose |= {"pitch": rng.normal(0, 6), "roll": 85 + rng.normal(0, 5)}
    return pose | _bent_legs(rng, lambda: rng.uniform(0, 70), 0, 0.6, 15, 8, 4)


_ON_FEET = ("stand", "walk", "walk_busy", "run", "lunge", "bend_over", "crouch", "sit")

_ACTIONS: dict[str, tuple[float, Callable[[Generator], Pose], str | None]] = {
    "stand": (34, _stand, "calm"),
    "walk": (9, _walk, None),
    "walk_busy": (4, _walk, "calm"),
    "run": (5, _run, None),
    "lunge": (12, _lunge, "sport"),
    "kick": (2, _kick, "sport"),
    "jump": (3, _jump, "sport"),
    "sit": (17, _sit, "table"),
    "ride": (3, _ride, "ride"),
    "sit_floor": (3, _sit_floor, "table"),
    "crouch": (3, _crouch, "work"),
    "kneel": (2, _kneel, "work"),
    "bend_over": (4, _bend_over, "work"),
    "lie": (2, _lie, "calm"),
}
"""Weight, legs and trunk, and the set of arm poses; ``None`` where the body sets its own arms."""

_ARMS: dict[str, tuple[float, float, float, float, float]] = {
    "hang": (7, 60, 15, 20, 8),
    "pockets": (16, 110, 25, 45, 8),
    "akimbo": (42, 95, 55, 100, 8),
    "hold": (30, 25, 30, 75, 14),
    "fold": (38, 5, 62, 105, 9),
    "phone": (48, 20, 20, 125, 10),
    "mouth": (50, 15, 35, 130, 9),
    "forward": (75, 5, 10, 25, 18),
    "down": (38, 0, 15, 20, 16),
    "side": (80, 90, 0, 25, 18),
    "wave": (85, 80, -45, 85, 18),
    "overhead": (155, 45, 0, 25, 18),
    "behind": (-25, 10, 60, 50, 10),
    "back_swing": (95, 110, -20, 70, 18),
    "across": (65, -25, 20, 45, 16),
    "table": (35, 15, 30, 80, 14),
    "handlebar": (62, 10, 15, 25, 10),
    "lap": (22, 10, 30, 55, 12),
    "balance": (55, 85, 10, 35, 18),
}
"""Degrees: shoulder raise, swing, inward twist, elbow; and the spread of each draw."""

_MIXED: dict[str, float] = dict.fromkeys(_ARMS, 1.0) | {
    "hang": 4, "hold": 3, "forward": 1.6, "table": 2, "akimbo": 1.5, "overhead": 0.4, "back_swing": 0.4, "side": 0.6,
    "wave": 0.6, "handlebar": 0.5,
}  # fmt: skip
"""How often one arm alone does what."""

_ARM_SETS: dict[str, list[str]] = {
    "calm": ["hang"] * 5 + ["pockets", "akimbo", "hold", "hold", "fold", "phone", "behind", "overhead"] + ["mixed"] * 8,
    "sport": ["balance", "balance", "side", "overhead", "back_swing", "hold"] + ["mixed"] * 8,
    "table": ["table"] * 4 + ["lap", "lap", "hold", "mouth", "fold"] + ["mixed"] * 5,
    "ride": ["handlebar"] * 5 + ["mixed"],
    "work": ["down"] * 4 + ["hold", "forward", "mixed", "mixed"],
}
