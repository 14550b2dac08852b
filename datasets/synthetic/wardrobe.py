"""What a synthetic person looks like besides the pose: skin, hair, clothes, hats and bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

Pattern: TypeAlias = tuple[int, Colour]
"""An index of `render.PATTERNS`, and the colour of the print."""

_SKINS = (
    (255, 219, 190),
    (240, 195, 160),
    (224, 172, 132),
    (198, 140, 100),
    (160, 106, 72),
    (120, 76, 52),
    (84, 54, 40),
)
_HAIRS = (
    (30, 24, 22),
    (52, 36, 26),
    (92, 60, 36),
    (140, 98, 58),
    (205, 168, 108),
    (150, 64, 34),
    (150, 150, 150),
    (225, 222, 216),
)
_HAIR_WEIGHTS = (0.27, 0.2, 0.19, 0.1, 0.11, 0.04, 0.06, 0.03)
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


def sample_outfit(rng: np.random.Generator, woman: bool, child: bool) -> Outfit:
    """Draws skin, hair and clothes independently of the pose."""
    skin = _jitter(rng, _SKINS[int(rng.integers(len(_SKINS)))], 10)
    shirt, lower = _cloth(rng), _trousers(rng)
    if rng.random() < 0.08:
        lower = shirt
    skirt = float(rng.uniform(0.45, 1.0)) if woman and rng.random() < 0.25 else 0.0
    long_hair = rng.random() < (0.65 if woman else 0.08)
    bald = bool(not woman and not child and rng.random() < 0.12)
    length = float(rng.uniform(0.1, 1.3)) if long_hair and not bald else 0.0
    return Outfit(
        skin=skin, hair=_jitter(rng, _HAIRS[int(rng.choice(len(_HAIRS), p=_HAIR_WEIGHTS))], 10),
        eyes=_jitter(rng, (45, 35, 30), 25), lips=(int(skin[0] * 0.78), int(skin[1] * 0.55), int(skin[2] * 0.55)),
        shirt=shirt, sleeve=shirt if rng.random() < 0.88 else _cloth(rng), lower=lower,
        shoes=_cloth(rng), sock_colour=_cloth(rng), sock=float(rng.choice((0.0, 0.25, 0.5))),
        arm_cover=float(rng.choice((0.0, 0.45, 0.7, 1.0, 1.5, 1.95), p=(0.12, 0.25, 0.15, 0.05, 0.08, 0.35))),
        leg_cover=0.3 if skirt else float(rng.choice((0.35, 0.85, 1.0, 1.5, 1.93), p=(0.06, 0.2, 0.08, 0.04, 0.62))),
        leg_width=float(rng.uniform(1.04, 1.4)), skirt=skirt, shirt_tail=bool(rng.random() < 0.7),
        shirt_width=float(np.clip(rng.lognormal(0.08, 0.1), 1.0, 1.4)),
        shirt_pattern=_pattern(rng, 0.4), lower_pattern=_pattern(rng, 0.1),
        jacket=_cloth(rng) if rng.random() < 0.2 else None,
        hairline=float(rng.uniform(-0.05, 0.12)), hair_length=length, volume=float(rng.uniform(0.2, 1.4)), bald=bald,
        ears_out=bool(length == 0 or rng.random() < 0.4), smile=float(rng.random()),
        beard=bool(not woman and not child and rng.random() < 0.22),
        glasses=_cloth(rng, dark=True) if rng.random() < 0.12 else None,
        glove=_cloth(rng) if rng.random() < 0.06 else None,
        hat=str(rng.choice(("", "cap", "beanie", "brim", "helmet"), p=(0.72, 0.11, 0.07, 0.04, 0.06))),
        hat_colour=_cloth(rng),
        bag="backpack" if rng.random() < 0.1 else "", bag_colour=_cloth(rng),
    )  # fmt: skip


def _pattern(rng: np.random.Generator, share: float) -> Pattern | None:
    kind, colour = int(rng.integers(8)), _cloth(rng)
    return (kind, colour) if rng.random() < share else None


def _cloth(rng: np.random.Generator, dark: bool = False) -> Colour:
    """Greys, black and white are half of what people wear."""
    if dark:
        return _jitter(rng, (30, 30, 34), 15)
    if rng.random() < 0.45:
        grey = _GREYS[int(rng.integers(len(_GREYS)))]
        return _jitter(rng, (grey, grey, grey), 10)
    return _saturated(rng)


def _trousers(rng: np.random.Generator) -> Colour:
    kind = rng.random()
    if kind < 0.35:
        return _jitter(rng, (52, 68, 102), 22)
    if kind < 0.6:
        return _jitter(rng, (36, 36, 40), 14)
    if kind < 0.75:
        return _jitter(rng, (168, 148, 116), 22)
    return _cloth(rng)


def _saturated(rng: np.random.Generator) -> Colour:
    hue, value, saturation = rng.random() * 6, rng.uniform(60, 245), rng.uniform(0.25, 0.9)
    wheel = [abs((hue + shift) % 6 - 3) - 1 for shift in (0, 4, 2)]
    red, green, blue = (int(value * (1 - saturation * (1 - min(max(w, 0.0), 1.0)))) for w in wheel)
    return (red, green, blue)


def _jitter(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    noise = rng.normal(0, spread * 0.6) + rng.normal(0, spread * 0.4, 3)
    red, green, blue = (int(min(max(c + n, 0.0), 255.0)) for c, n in zip(colour, noise, strict=True))
    return (red, green, blue)
