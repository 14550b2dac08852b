"""The poses of the synthetic people: legs, trunk, arms and head are drawn separately, then kept inside the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from datasets.synthetic.body import Pose, limited

_Rng: TypeAlias = np.random.Generator
_SIDES = ("left", "right")


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


def sample_action(rng: _Rng) -> Action:
    """Draws one action, its legs and trunk, then arms and head that suit it."""
    names, weights = zip(*((name, entry[0]) for name, entry in _ACTIONS.items()), strict=True)
    name = str(rng.choice(names, p=np.array(weights) / sum(weights)))
    _, body, arms = _ACTIONS[name]
    pose = body(rng)
    if isinstance(arms, str):
        arms = str(rng.choice(_ARM_SETS[arms]))
        pose.update(_both_arms(rng, _ARMS[arms] if arms != "mixed" else None))
    _head(rng, pose)
    if rng.random() < 0.5:
        pose = mirrored(pose)
    _level_feet(rng, pose, flat=name in _ON_FEET)
    jump = float(rng.uniform(0.05, 0.6)) if name == "jump" else 0.0
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


def _level_feet(rng: _Rng, pose: Pose, flat: bool) -> None:
    """Turns each foot towards level where it stands, or lets it hang."""
    for side in _SIDES:
        tip = pose.get("pitch", 0.0) - pose.get(f"{side}_hip_raise", 0.0) + pose.get(f"{side}_knee", 0.0)
        level = tip if flat else 0.4 * tip
        pose.setdefault(f"{side}_ankle", level + float(rng.normal(0, 6)))


def _head(rng: _Rng, pose: Pose) -> None:
    """Heads turn towards something, and stay up when the trunk bends."""
    trunk = pose.get("pitch", 0.0) + pose.get("bend", 0.0)
    pose["nod"] = pose.get("nod", float(rng.normal(6, 14))) - 0.45 * float(np.clip(trunk, -60, 90))
    pose.setdefault("look", float(rng.normal(0, 28)))
    pose.setdefault("tilt", float(rng.normal(0, 8)))


def _trunk(rng: _Rng, bend: float = 4, spread: float = 7) -> Pose:
    return {
        "bend": float(rng.normal(bend, spread)),
        "lean": float(rng.normal(0, 5)),
        "turn": float(rng.normal(0, 9)),
        "pitch": float(rng.normal(0, 3)),
        "roll": float(rng.normal(0, 2)),
    }


def _leg(
    rng: _Rng, side: str, raised: float, swing: float = 5, knee: float = 5, twist: float = 8, noise: float = 4
) -> Pose:
    return {
        f"{side}_hip_raise": float(rng.normal(raised, noise)),
        f"{side}_hip_swing": float(rng.normal(swing, noise)),
        f"{side}_hip_twist": float(rng.normal(twist, 8)),
        f"{side}_knee": abs(float(rng.normal(knee, noise))),
    }


def _stand(rng: _Rng) -> Pose:
    """Weight on both legs or on one, feet somewhat apart."""
    apart = abs(float(rng.normal(6, 5)))
    pose = _trunk(rng)
    for side in _SIDES:
        pose |= _leg(rng, side, apart, 90, 4, 10, 3)
    if rng.random() < 0.4:
        pose |= _leg(rng, "left", float(rng.uniform(5, 25)), 30, float(rng.uniform(10, 40)))
    return pose


def _stride(rng: _Rng, reach: float, lean: float, knee: float) -> Pose:
    phase = float(rng.uniform(0.25, 1.0))
    pose = _trunk(rng, lean) | {"pitch": float(rng.normal(lean, 4)), "turn": float(rng.normal(-8, 6)) * phase}
    pose |= _leg(rng, "left", reach * phase + lean, 5, float(rng.uniform(0.1, 0.8)) * knee * 0.6)
    pose |= _leg(rng, "right", -0.6 * reach * phase + lean, 5, float(rng.uniform(0.3, 1.0)) * knee)
    return pose


def _walk(rng: _Rng) -> Pose:
    pose = _stride(rng, 28, 3, 45)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        pose[f"{side}_shoulder_raise"] = float(rng.normal(20 * sign, 10))
        pose[f"{side}_shoulder_swing"] = float(rng.normal(10, 8))
        pose[f"{side}_elbow"] = float(rng.uniform(5, 45))
        pose[f"{side}_shoulder_twist"] = float(rng.normal(15, 12))
    return pose


def _run(rng: _Rng) -> Pose:
    pose = _stride(rng, 60, 10, 115)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        pose[f"{side}_shoulder_raise"] = float(rng.normal(42 * sign, 14))
        pose[f"{side}_shoulder_swing"] = float(rng.normal(15, 10))
        pose[f"{side}_elbow"] = float(rng.uniform(60, 120))
        pose[f"{side}_shoulder_twist"] = float(rng.normal(25, 15))
    return pose


def _lunge(rng: _Rng) -> Pose:
    """A wide stance: tennis, skating, surfing, skiing, throwing."""
    depth = float(rng.uniform(15, 60))
    pose = _trunk(rng, 0.45 * depth, 12) | {
        "turn": float(rng.normal(0, 20)),
        "pitch": float(rng.normal(0.25 * depth, 8)),
    }
    for side in _SIDES:
        wide = float(rng.uniform(20, 80))
        knee = depth * float(rng.uniform(0.8, 1.9))
        pose |= _leg(rng, side, 0.25 * depth + depth * float(rng.uniform(0.6, 1.1)), wide, knee, 20, 8)
    return pose


def _kick(rng: _Rng) -> Pose:
    pose = _trunk(rng, 5, 10) | {"pitch": float(rng.normal(-8, 8))}
    pose |= _leg(rng, "left", float(rng.uniform(30, 100)), 20, float(rng.uniform(5, 60)), noise=10)
    return pose | _leg(rng, "right", 0, 10, float(rng.uniform(5, 35)))


def _jump(rng: _Rng) -> Pose:
    pose = _trunk(rng, 12, 15) | {"pitch": float(rng.normal(5, 15)), "roll": float(rng.normal(0, 10))}
    for side in _SIDES:
        pose |= _leg(rng, side, float(rng.uniform(-10, 90)), float(rng.uniform(0, 60)), float(rng.uniform(10, 120)))
    return pose


def _sit(rng: _Rng) -> Pose:
    pitch = float(rng.normal(-6, 10))
    pose = _trunk(rng, 14, 12) | {"pitch": pitch}
    apart = abs(float(rng.normal(14, 10)))
    for side in _SIDES:
        pose |= _leg(rng, side, 86 + pitch, apart, float(rng.uniform(55, 110)), 5, 6)
    if rng.random() < 0.2:
        pose |= _leg(rng, "left", 100 + pitch, -8, float(rng.uniform(70, 100)), 20)
    return pose


def _ride(rng: _Rng) -> Pose:
    """On a bicycle, a motorbike or a horse."""
    pitch = float(rng.uniform(5, 35))
    pose = _trunk(rng, 18, 8) | {"pitch": pitch}
    for side in _SIDES:
        raised = float(rng.uniform(35, 90)) + pitch
        pose |= _leg(rng, side, raised, 20, raised * float(rng.uniform(0.7, 1.1)), 10, 5)
    return pose


def _sit_floor(rng: _Rng) -> Pose:
    pose = _trunk(rng, 25, 12) | {"pitch": float(rng.normal(-8, 8))}
    crossed = rng.random() < 0.5
    for side in _SIDES:
        if crossed:
            pose |= _leg(rng, side, 88, 48, 132, 40, 6)
        else:
            knee = float(rng.uniform(0, 115))
            pose |= _leg(rng, side, 80 + 0.45 * knee, 15, knee, 10, 6)
    return pose


def _crouch(rng: _Rng) -> Pose:
    pitch = float(rng.uniform(10, 45))
    pose = _trunk(rng, 30, 12) | {"pitch": pitch}
    for side in _SIDES:
        knee = float(rng.uniform(95, 142))
        pose |= _leg(rng, side, pitch + 0.75 * knee, 22, knee, 15, 5)
    return pose


def _kneel(rng: _Rng) -> Pose:
    pose = _trunk(rng, 20, 14) | {"pitch": float(rng.normal(8, 8))}
    pose |= _leg(rng, "left", 5, 15, 90)
    both = rng.random() < 0.4
    return pose | (_leg(rng, "right", 5, 15, 92) if both else _leg(rng, "right", 90, 15, 88))


def _bend_over(rng: _Rng) -> Pose:
    pitch = float(rng.uniform(20, 75))
    pose = _trunk(rng, 35, 15) | {"pitch": pitch}
    for side in _SIDES:
        knee = abs(float(rng.normal(15, 15)))
        pose |= _leg(rng, side, pitch + 0.5 * knee, 12, knee)
    return pose


def _lie(rng: _Rng) -> Pose:
    pose = _trunk(rng, 5, 10) | {"pitch": float(rng.choice([-90, 90, -78])) + float(rng.normal(0, 5))}
    if rng.random() < 0.3:
        pose |= {"pitch": float(rng.normal(0, 6)), "roll": 85 + float(rng.normal(0, 5))}
    for side in _SIDES:
        knee = float(rng.uniform(0, 70))
        pose |= _leg(rng, side, 0.6 * knee, 15, knee)
    return pose


_ON_FEET = ("stand", "walk", "walk_busy", "run", "lunge", "bend_over", "crouch", "sit")

_ACTIONS: dict[str, tuple[float, Callable[[_Rng], Pose], str | None]] = {
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


def _both_arms(rng: _Rng, arm: tuple[float, float, float, float, float] | None) -> Pose:
    """The same draw for both arms, or two independent ones."""
    names = list(_MIXED)
    shares = np.array([_MIXED[name] for name in names]) / sum(_MIXED.values())
    pose: Pose = {}
    for side in _SIDES:
        raised, swing, twist, elbow, spread = arm or _ARMS[str(rng.choice(names, p=shares))]
        noise = rng.normal(0, spread, 4)
        pose[f"{side}_shoulder_raise"] = raised + float(noise[0])
        pose[f"{side}_shoulder_swing"] = swing + float(noise[1])
        pose[f"{side}_shoulder_twist"] = twist + float(noise[2])
        pose[f"{side}_elbow"] = elbow + float(noise[3])
        pose[f"{side}_wrist"] = float(rng.normal(0, 18))
    return pose
