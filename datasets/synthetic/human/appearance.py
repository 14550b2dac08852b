"""What a synthetic person looks like besides the pose: skin, hair, clothes, hats and bags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from datasets.synthetic.rendering.primitives import Colour, Pattern, vary

_SKINS = (
    (255, 219, 190),
    (240, 195, 160),
    (224, 172, 132),
    (198, 140, 100),
    (160, 106, 72),
    (120, 76, 52),
    (84, 54, 40),
)
_HAIRS = {
    (30, 24, 22): 0.27,
    (52, 36, 26): 0.2,
    (92, 60, 36): 0.19,
    (140, 98, 58): 0.1,
    (205, 168, 108): 0.11,
    (150, 64, 34): 0.04,
    (150, 150, 150): 0.06,
    (225, 222, 216): 0.03,
}
"""Colours with their probabilities."""

_GREYS = (20, 40, 70, 110, 160, 205, 240)


@dataclass(frozen=True)
class Outfit:
    """Colours, and lengths of sleeves and legs.

    Attributes:
        arm_cover, leg_cover: 0 bare, 1 to elbow or knee, 2 to wrist or ankle.
        skirt: fraction of the thigh that a skirt covers, 0 for none.
        hairline: height of the hair's edge on the skull; higher is a taller forehead.
        hair_length: in head heights below the ears, 0 for short hair.
        shirt_width: looseness of shirt and sleeves, 1 skin-tight.
        shirt_pattern, lower_pattern: None where plain.
        jacket: colour of the shirt's opening, None where it is closed.
    """

    skin: Colour
    hair: Colour
    eyes: Colour
    lips: Colour
    shirt: Colour
    sleeve: Colour
    lower: Colour
    shoes: Colour
    sock_colour: Colour
    sock: float
    arm_cover: float
    leg_cover: float
    leg_width: float
    skirt: float
    shirt_tail: bool
    shirt_width: float
    shirt_pattern: Pattern | None
    lower_pattern: Pattern | None
    jacket: Colour | None
    hairline: float
    hair_length: float
    volume: float
    bald: bool
    ears_out: bool
    smile: float
    beard: bool
    glasses: Colour | None
    glove: Colour | None
    hat: str
    hat_colour: Colour
    bag: str
    bag_colour: Colour


def sample_outfit(rng: Generator, woman: bool, child: bool) -> Outfit:
    """Draws skin, hair and clothes independently of the pose."""
    skin = vary(rng, _SKINS[int(rng.integers(len(_SKINS)))], 10)
    shirt, lower = _cloth(rng), _trousers(rng)
    if rng.random() < 0.08:
        lower = shirt
    skirt = rng.uniform(0.45, 1.0) if woman and rng.random() < 0.25 else 0.0
    long_hair = rng.random() < (0.65 if woman else 0.08)
    bald = not woman and not child and rng.random() < 0.12
    length = rng.uniform(0.1, 1.3) if long_hair and not bald else 0.0
    return Outfit(
        skin=skin, hair=vary(rng, list(_HAIRS)[int(rng.choice(len(_HAIRS), p=list(_HAIRS.values())))], 10),
        eyes=vary(rng, (45, 35, 30), 25), lips=(int(skin[0] * 0.78), int(skin[1] * 0.55), int(skin[2] * 0.55)),
        shirt=shirt, sleeve=shirt if rng.random() < 0.88 else _cloth(rng), lower=lower,
        shoes=_cloth(rng), sock_colour=_cloth(rng), sock=float(rng.choice((0.0, 0.25, 0.5))),
        arm_cover=float(rng.choice((0.0, 0.45, 0.7, 1.0, 1.5, 1.95), p=(0.12, 0.25, 0.15, 0.05, 0.08, 0.35))),
        leg_cover=0.3 if skirt else float(rng.choice((0.35, 0.85, 1.0, 1.5, 1.93), p=(0.06, 0.2, 0.08, 0.04, 0.62))),
        leg_width=rng.uniform(1.04, 1.4), skirt=skirt, shirt_tail=rng.random() < 0.7,
        shirt_width=float(np.clip(rng.lognormal(0.08, 0.1), 1.0, 1.4)),
        shirt_pattern=_pattern(rng, 0.4), lower_pattern=_pattern(rng, 0.1),
        jacket=_cloth(rng) if rng.random() < 0.2 else None,
        hairline=rng.uniform(-0.05, 0.12), hair_length=length, volume=rng.uniform(0.2, 1.4), bald=bald,
        ears_out=length == 0 or rng.random() < 0.4, smile=rng.random(),
        beard=not woman and not child and rng.random() < 0.22,
        glasses=vary(rng, (30, 30, 34), 15) if rng.random() < 0.12 else None,
        glove=_cloth(rng) if rng.random() < 0.06 else None,
        hat=str(rng.choice(("", "cap", "beanie", "brim", "helmet"), p=(0.72, 0.11, 0.07, 0.04, 0.06))),
        hat_colour=_cloth(rng),
        bag="backpack" if rng.random() < 0.1 else "", bag_colour=_cloth(rng),
    )  # fmt: skip


def _pattern(rng: Generator, fraction: float) -> Pattern | None:
    kind, colour = int(rng.integers(8)), _cloth(rng)
    return (kind, colour) if rng.random() < fraction else None


def _trousers(rng: Generator) -> Colour:
    """Jeans, black, beige, or any cloth."""
    kind = rng.random()
    if kind < 0.35:
        return vary(rng, (52, 68, 102), 22)
    if kind < 0.6:
        return vary(rng, (36, 36, 40), 14)
    if kind < 0.75:
        return vary(rng, (168, 148, 116), 22)
    return _cloth(rng)


def _cloth(rng: Generator) -> Colour:
    """Greys, black and white are half of what people wear."""
    if rng.random() < 0.45:
        grey = _GREYS[int(rng.integers(len(_GREYS)))]
        return vary(rng, (grey, grey, grey), 10)
    hue, value, saturation = rng.random() * 6, rng.uniform(60, 245), rng.uniform(0.25, 0.9)
    wheel = [abs((hue + shift) % 6 - 3) - 1 for shift in (0, 4, 2)]
    red, green, blue = (int(value * (1 - saturation * (1 - min(max(w, 0.0), 1.0)))) for w in wheel)
    return (red, green, blue)
