"""Things that go with an action: what hands hold, boards and skis under feet, chairs, tables, bicycles, horses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from datasets.synthetic.body import Shape
from datasets.synthetic.parts import FigureBuilder, Sphere, darker
from datasets.synthetic.pose import Action
from datasets.synthetic.wardrobe import Colour

_SIDES = ("left", "right")
_BLACK: Colour = (34, 34, 38)


def add_props(build: FigureBuilder, rng: np.random.Generator, shape: Shape, action: Action, pelvis: float) -> float:
    """Adds what the action calls for.

    Args:
        build: gets the parts.
        rng: chooses.
        shape: the body.
        action: what the person does.
        pelvis: metres from the lowest point of the body up to the pelvis.

    Returns:
        Metres by which the things raise the body off the ground.
    """
    if action.name == "ride":
        return _ride(build, rng, shape, pelvis)
    if action.name == "sit":
        seat = pelvis - 0.05 * shape.height
        chair(build, rng, any_colour(rng), seat)
        if rng.random() < 0.4:
            table(build, rng, any_colour(rng), seat + 0.27)
        return 0.0
    if action.name in ("lunge", "jump") and rng.random() < 0.55:
        return _under_feet(build, rng)
    holds = _SPORT if action.name in ("lunge", "kick", "jump", "run") else _DAILY
    side, hold = str(rng.choice(_SIDES)), holds[int(rng.integers(len(holds)))]
    if rng.random() < 0.4 and not (hold is _umbrella and not _upright(action, side)):
        hold(build, side, any_colour(rng))
    return 0.0


def _upright(action: Action, side: str) -> bool:
    """Whether what the hand holds across its palm points up."""
    pitch = action.pose.get("pitch", 0.0) + action.pose.get("bend", 0.0)
    raised, elbow = action.pose.get(f"{side}_shoulder_raise", 0.0), action.pose.get(f"{side}_elbow", 0.0)
    return 60 < raised + elbow - pitch < 125 and raised < 60


def any_colour(rng: np.random.Generator) -> Colour:
    """Grey more often than by chance."""
    if rng.random() < 0.4:
        grey = int(rng.uniform(20, 240))
        return (grey, grey, grey)
    red, green, blue = (int(v) for v in rng.integers(20, 240, 3))
    return (red, green, blue)


def _in_hand(build: FigureBuilder, side: str, colour: Colour, rows: list[Sphere], layer: float = 0.0) -> None:
    build.add("object", colour, f"{side}_hand", rows, layer)


def _bat(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, colour, [(0.0, -0.06, -0.1, 0.014), (0.0, -0.06, 0.3, 0.02), (0.0, -0.06, 0.75, 0.032)])


def _racket(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, _BLACK, [(0.0, -0.07, -0.08, 0.016), (0.0, -0.07, 0.3, 0.014)])
    ring = [
        (0.0, -0.07 + 0.12 * float(np.cos(a)), 0.46 + 0.16 * float(np.sin(a)), 0.012) for a in np.arange(8) * np.pi / 4
    ]
    _in_hand(build, side, colour, ring, 1)
    inner = [(x, -0.07 + (y + 0.07) * 0.86, 0.46 + (z - 0.46) * 0.86, 0.0) for x, y, z, _ in ring]
    _in_hand(build, side, (206, 208, 200), inner, 2)


def _ball(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, colour, [(0.0, -0.2, 0.05, 0.11)])


def _disc(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(
        build,
        side,
        colour,
        [(0.02, -0.16 + 0.13 * float(np.cos(a)), 0.13 * float(np.sin(a)), 0.01) for a in np.arange(8) * np.pi / 4],
    )


def _phone(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, darker(colour, 0.4), [(x, -0.08, z, 0.008) for x in (-0.03, 0.03) for z in (-0.02, 0.11)])


def _cup(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, colour, [(0.0, -0.07, z, 0.034) for z in (-0.02, 0.08)])


def _handbag(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.05)
    _in_hand(
        build, side, darker(colour, 0.7), [(0.0, -0.07, 0.0, 0.01), (0.0, -0.25, 0.07, 0.01), (0.0, -0.25, -0.07, 0.01)]
    )
    _in_hand(
        build, side, colour, [(x, y, z, 0.03) for x in (-0.03, 0.03) for y in (-0.28, -0.46) for z in (-0.12, 0.12)], 1
    )


def _umbrella(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.1)
    _in_hand(build, side, _BLACK, [(0.0, -0.07, -0.1, 0.008), (0.0, -0.07, 0.75, 0.008)])
    rim: list[Sphere] = [
        (0.5 * float(np.cos(a)), -0.07 + 0.5 * float(np.sin(a)), 0.58, 0.01) for a in np.arange(10) * np.pi / 5
    ]
    build.group(-0.1)
    _in_hand(build, side, colour, [*rim, (0.0, -0.07, 0.8, 0.08)], 1)


def _book(build: FigureBuilder, side: str, colour: Colour) -> None:
    build.group(0.08)
    _in_hand(build, side, colour, [(x, -0.1, z, 0.012) for x in (-0.1, 0.1) for z in (-0.05, 0.2)])


_SPORT: list[Callable[[FigureBuilder, str, Colour], None]] = [_bat, _racket, _racket, _ball, _disc]
_DAILY: list[Callable[[FigureBuilder, str, Colour], None]] = [_phone, _cup, _handbag, _handbag, _umbrella, _book, _ball]


def _under_feet(build: FigureBuilder, rng: np.random.Generator) -> float:
    """One board across both feet, or a ski below each."""
    colour, kind = any_colour(rng), rng.random()
    build.group(-0.05)
    if kind < 0.3:
        for side in _SIDES:
            build.add("object", colour, f"{side}_foot", [(0.0, -0.05, z, 0.02) for z in (-0.6, 0.8)])
        for side in _SIDES:
            build.group(0.05)
            build.add("object", _BLACK, f"{side}_hand", [(0.0, -0.06, 0.05, 0.012), (0.0, -0.3, -0.95, 0.01)])
        return 0.03
    long, low = (0.25, 0.1) if kind < 0.6 else (0.5, 0.05)
    ends = [(side, (sign * long, -low, 0.0, 0.035)) for side, sign in (("left_foot", 1.0), ("right_foot", -1.0))]
    ends += [(side, (0.0, -low, z, 0.02)) for side in ("left_foot", "right_foot") for z in (-0.1, 0.2)]
    build.join("object", colour, ends)
    return low


def chair(build: FigureBuilder, rng: np.random.Generator, colour: Colour, seat: float) -> None:
    """A seat at ``seat`` metres, on legs or a block, often with a back."""
    wide = 0.22
    build.group(-0.08)
    build.add("object", colour, "ground", [(x, seat - 0.04, z, 0.03) for x in (-wide, wide) for z in (-0.2, 0.22)], 1)
    legs = [(x, z) for x in (-wide, wide) for z in (-0.2, 0.2)]
    if rng.random() < 0.35:
        block = [(x, y, z, 0.02) for x, z in legs for y in (0.02, seat - 0.05)]
        build.add("object", darker(colour, 0.8), "ground", block)
    else:
        for x, z in legs:
            build.add("object", darker(colour, 0.7), "ground", [(x, 0.0, z, 0.02), (x, seat - 0.05, z, 0.02)])
    if rng.random() < 0.6:
        build.group(-0.1)
        rows = [(x, y, -0.26, 0.025) for x in (-wide, wide) for y in (seat + 0.1, seat + 0.5)]
        build.add("object", darker(colour, 0.95), "ground", rows)


def table(build: FigureBuilder, rng: np.random.Generator, colour: Colour, height: float) -> None:
    """A table ahead of whoever sits at the origin, with things on it."""
    wide = float(rng.uniform(0.4, 0.9))
    build.group(0.0)
    corners = [(x, z) for x in (-wide, wide) for z in (0.4, 1.1)]
    build.add("object", colour, "ground", [(x, height - 0.02, z, 0.02) for x, z in corners], 1)
    for x, z in corners:
        build.add("object", darker(colour, 0.7), "ground", [(x, 0.0, z, 0.025), (x, height - 0.03, z, 0.025)])
    build.group(0.15)
    for _ in range(int(rng.integers(0, 5))):
        x, z, r = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.03, 0.07))
        top = height + float(rng.uniform(1, 4)) * r
        build.add("object", any_colour(rng), "ground", [(x, height + r, z, r), (x, top, z, r)])


def _ride(build: FigureBuilder, rng: np.random.Generator, shape: Shape, pelvis: float) -> float:
    colour, kind = any_colour(rng), rng.random()
    if kind < 0.35:
        back = 1.45
        horse(build, colour, back)
        return max(0.0, back + 0.07 - pelvis)
    raised = max(0.0, 0.88 - pelvis) * shape.height / 1.7
    top = pelvis + raised - 0.07 * shape.height
    if kind < 0.7:
        bicycle(build, colour, top)
    else:
        _motorbike(build, colour, top)
    return raised


def bicycle(build: FigureBuilder, colour: Colour, top: float) -> None:
    """Its saddle at ``top`` metres, its front wheel ahead."""
    build.group(0.0)
    for z in (-0.52, 0.55):
        _wheel(build, z, 0.33, 0.02)
    tubes = (
        ((0.4, 0.0), (top, -0.1)), ((top - 0.1, -0.08), (0.75, 0.35)), ((0.4, 0.0), (0.75, 0.36)),
        ((0.33, 0.55), (0.95, 0.33)), ((0.33, -0.52), (0.4, 0.0)),
    )  # fmt: skip
    for a, b in tubes:
        build.add("object", colour, "ground", [(0.0, *a, 0.02), (0.0, *b, 0.02)], 1)
    _saddle(build, top)


def _motorbike(build: FigureBuilder, colour: Colour, top: float) -> None:
    build.group(0.0)
    for z in (-0.52, 0.55):
        _wheel(build, z, 0.33, 0.06)
    body = [(0.0, 0.55, -0.3, 0.16), (0.0, 0.6, 0.3, 0.15), (0.0, top - 0.08, -0.35, 0.09)]
    build.add("object", colour, "ground", body, 1)
    build.add("object", darker(colour, 0.7), "ground", [(0.0, 0.33, 0.55, 0.04), (0.0, 1.0, 0.36, 0.06)], 2)
    _saddle(build, top)


def _saddle(build: FigureBuilder, top: float) -> None:
    """Saddle and handlebar."""
    build.add("object", _BLACK, "ground", [(x, 0.98, 0.34, 0.02) for x in (-0.28, 0.28)], 3)
    build.add("object", _BLACK, "ground", [(0.0, top, -0.2, 0.05), (0.0, top, 0.05, 0.03)], 3)


def _wheel(build: FigureBuilder, z: float, radius: float, thick: float) -> None:
    angles = np.arange(13) * (np.pi / 6)
    rim = [
        (0.0, radius + (radius - thick) * float(np.sin(a)), z + (radius - thick) * float(np.cos(a)), thick)
        for a in angles
    ]
    for a, b in pairwise(rim):
        build.add("object", _BLACK, "ground", [a, b])


def horse(build: FigureBuilder, colour: Colour, back: float) -> None:
    """Its back at ``back`` metres, its head ahead."""
    build.group(-0.02)
    build.add(
        "object", colour, "ground", [(0.0, back - 0.3, z, r) for z, r in ((-0.6, 0.29), (0.0, 0.28), (0.5, 0.29))], 1
    )
    for x, z in ((0.15, -0.7), (-0.15, -0.7), (0.15, 0.55), (-0.15, 0.55)):
        build.add(
            "object",
            darker(colour, 0.85),
            "ground",
            [(x, back - 0.45, z, 0.11), (x, 0.6, z + 0.05, 0.06), (x, 0.05, z, 0.05)],
        )
    build.group(0.0)
    build.add("object", colour, "ground", [(0.0, back - 0.2, 0.6, 0.2), (0.0, back + 0.4, 1.0, 0.12)], 1)
    build.add(
        "object", darker(colour, 0.95), "ground", [(0.0, back + 0.42, 1.0, 0.13), (0.0, back + 0.1, 1.4, 0.08)], 2
    )
    build.add("object", darker(colour, 0.5), "ground", [(0.0, back + 0.5, 0.9, 0.06), (0.0, back - 0.05, 0.5, 0.08)], 3)
    build.group(-0.1)
    build.add("object", darker(colour, 0.5), "ground", [(0.0, back - 0.15, -0.9, 0.05), (0.0, back - 0.8, -1.0, 0.06)])
