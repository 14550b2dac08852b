"""Things that go with an action: what hands hold, boards and skis under feet, what people sit on and ride."""

from __future__ import annotations

from typing import TypeAlias

from numpy.random import Generator

from datasets.synthetic.human.body import SIDES, Shape
from datasets.synthetic.human.pose import Action
from datasets.synthetic.objects import BLACK, any_colour, bicycle, chair, horse, motorbike, table
from datasets.synthetic.rendering.primitives import Colour, FigureBuilder, Sphere, box, circle, shade

Piece: TypeAlias = tuple[Colour | float, list[Sphere]]
"""A colour, or what the colour of the thing is multiplied by; and spheres in the frame of the hand."""

_RIM = [(0.0, -0.07 + 0.12 * c, 0.46 + 0.16 * s, 0.012) for c, s in circle(8)]
_STRINGS = [(x, -0.07 + (y + 0.07) * 0.86, 0.46 + (z - 0.46) * 0.86, 0.0) for x, y, z, _ in _RIM]
_CANOPY = [(0.5 * c, -0.07 + 0.5 * s, 0.58, 0.01) for c, s in circle(10)]

_HELD: dict[str, list[Piece]] = {
    "bat": [(1, [(0.0, -0.06, -0.1, 0.014), (0.0, -0.06, 0.3, 0.02), (0.0, -0.06, 0.75, 0.032)])],
    "racket": [
        (BLACK, [(0.0, -0.07, -0.08, 0.016), (0.0, -0.07, 0.3, 0.014)]),
        (1, _RIM),
        ((206, 208, 200), _STRINGS),
    ],
    "ball": [(1, [(0.0, -0.2, 0.05, 0.11)])],
    "disc": [(1, [(0.02, -0.16 + 0.13 * c, 0.13 * s, 0.01) for c, s in circle(8)])],
    "phone": [(0.4, box((-0.03, 0.03), (-0.08,), (-0.02, 0.11), 0.008))],
    "cup": [(1, box((0.0,), (-0.07,), (-0.02, 0.08), 0.034))],
    "handbag": [
        (0.7, [(0.0, -0.07, 0.0, 0.01), (0.0, -0.25, 0.07, 0.01), (0.0, -0.25, -0.07, 0.01)]),
        (1, [(x, y, z, 0.03) for x in (-0.03, 0.03) for y in (-0.28, -0.46) for z in (-0.12, 0.12)]),
    ],
    "umbrella": [(BLACK, box((0.0,), (-0.07,), (-0.1, 0.75), 0.008))],
    "book": [(1, box((-0.1, 0.1), (-0.1,), (-0.05, 0.2), 0.012))],
}
"""The last piece is on top."""

_NEARER = {"handbag": 0.05, "umbrella": 0.1}
"""Metres by which a thing counts as nearer than it is; 0.08 where it isn't here."""

_SPORT = ("bat", "racket", "racket", "ball", "disc")
_DAILY = ("phone", "cup", "handbag", "handbag", "umbrella", "book", "ball")


def add_props(build: FigureBuilder, rng: Generator, shape: Shape, action: Action, pelvis: float) -> float:
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
        return _add_mount(build, rng, shape, pelvis)
    if action.name == "sit":
        seat = pelvis - 0.05 * shape.height
        chair(build, rng, any_colour(rng), seat)
        if rng.random() < 0.4:
            table(build, rng, any_colour(rng), seat + 0.27)
        return 0.0
    if action.name in ("lunge", "jump") and rng.random() < 0.55:
        return _add_board(build, rng)
    names = _SPORT if action.name in ("lunge", "kick", "jump", "run") else _DAILY
    side, name = str(rng.choice(list(SIDES))), names[int(rng.integers(len(names)))]
    if rng.random() < 0.4 and (name != "umbrella" or _is_upright(action, side)):
        _add_held(build, name, f"{side}_hand", any_colour(rng))
    return 0.0


def _is_upright(action: Action, side: str) -> bool:
    """Whether what the hand holds across its palm points up."""
    get = action.pose.get
    raised, elbow = get(f"{side}_shoulder_raise", 0.0), get(f"{side}_elbow", 0.0)
    return raised < 60 < raised + elbow - (get("pitch", 0.0) + get("bend", 0.0)) < 125


def _add_held(build: FigureBuilder, name: str, hand: str, colour: Colour) -> None:
    build.group(_NEARER.get(name, 0.08))
    for layer, (own, spheres) in enumerate(_HELD[name]):
        build.thing(own if isinstance(own, tuple) else shade(colour, own), spheres, layer, hand)
    if name == "umbrella":
        build.group(-0.1)
        build.thing(colour, [*_CANOPY, (0.0, -0.07, 0.8, 0.08)], 1, hand)


def _add_board(build: FigureBuilder, rng: Generator) -> float:
    """One board across both feet, or a ski below each and two poles."""
    colour, kind = any_colour(rng), rng.random()
    build.group(-0.05)
    if kind < 0.3:
        for side in SIDES:
            build.thing(colour, box((0.0,), (-0.05,), (-0.6, 0.8), 0.02), frame=f"{side}_foot")
        for side in SIDES:
            build.group(0.05)
            build.thing(BLACK, [(0.0, -0.06, 0.05, 0.012), (0.0, -0.3, -0.95, 0.01)], frame=f"{side}_hand")
        return 0.03
    long, low = (0.25, 0.1) if kind < 0.6 else (0.5, 0.05)
    middle = box((0.0,), (-low,), (-0.1, 0.2), 0.02)
    tips = [(f"{side}_foot", [(sign * long, -low, 0.0, 0.035)]) for side, sign in SIDES.items()]
    build.add("object", colour, [*tips, ("left_foot", middle), ("right_foot", middle)])
    return low


def _add_mount(build: FigureBuilder, rng: Generator, shape: Shape, pelvis: float) -> float:
    """A horse, a bicycle or a motorbike."""
    colour, kind = any_colour(rng), rng.random()
    if kind < 0.35:
        back = 1.45
        horse(build, rng, colour, back)
        return max(0.0, back + 0.07 - pelvis)
    raised = max(0.0, 0.88 - pelvis) * shape.height / 1.7
    top = pelvis + raised - 0.07 * shape.height
    if kind < 0.7:
        bicycle(build, rng, colour, top)
    else:
        motorbike(build, colour, top)
    return raised
