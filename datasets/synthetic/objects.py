"""Things that stand among the people, nearer or farther: furniture, plants, poles, cars, animals. Never people.

Frame: x right, y up, z ahead of the thing, which stands at the origin; metres.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from datasets.synthetic.rendering.camera import Camera
from datasets.synthetic.rendering.primitives import (
    Array,
    Colour,
    Figure,
    FigureBuilder,
    Sphere,
    box,
    circle,
    rotation,
    shade,
)

Thing: TypeAlias = Callable[[FigureBuilder, Generator, Colour], None]

BLACK: Colour = (34, 34, 38)


def sample_objects(rng: Generator, camera: Camera, depth: float) -> list[tuple[float, Figure]]:
    """Some things, each with its depth in metres; some before, most behind the people at ``depth``."""
    result = []
    weights = np.array([weight for weight, _ in _THINGS])
    for _ in range(int(rng.choice(5, p=(0.25, 0.25, 0.22, 0.16, 0.12)))):
        near = rng.random() < 0.27
        away = depth * (rng.uniform(0.6, 0.95) if near else rng.uniform(1.05, 3.0))
        if away < 0.8:
            continue
        x = camera.across(rng.uniform(-0.1, 1.1), away)
        build = FigureBuilder()
        _THINGS[int(rng.choice(len(_THINGS), p=weights / sum(weights)))][1](build, rng, any_colour(rng))
        position = np.array([x, 0.0, camera.position[2] - away])
        result.append((away, _stand(build, position, rng.uniform(0, 360))))
    return result


def sample_screen(rng: Generator, x: float, depth: float) -> tuple[float, Figure]:
    """Something close before a person at world ``x`` and ``depth`` that hides mostly the legs."""
    build = FigureBuilder()
    _SCREENS[int(rng.integers(len(_SCREENS)))](build, rng, any_colour(rng))
    away = depth - rng.uniform(0.5, 0.9)
    position = np.array([x + rng.normal(0, 0.25), 0.0, -away])
    return away, _stand(build, position, rng.normal(0, 25))


def _stand(build: FigureBuilder, position: Array, yaw: float) -> Figure:
    spheres, normals = build.place(("ground",), rotation(1, yaw)[None], position[None])
    return Figure(spheres, normals, build.parts, build.bias)


def any_colour(rng: Generator) -> Colour:
    """Grey more often than by chance."""
    if rng.random() < 0.4:
        grey = int(rng.uniform(20, 240))
        return (grey, grey, grey)
    red, green, blue = (int(v) for v in rng.integers(20, 240, 3))
    return (red, green, blue)


def _crate(build: FigureBuilder, rng: Generator, colour: Colour) -> None:
    """A crate, a counter, a wall; with a lighter top."""
    x, y, z = rng.uniform(0.15, 1.0), rng.uniform(0.25, 1.15), rng.uniform(0.15, 0.5)
    build.group()
    build.thing(shade(colour, 0.85), box((-x, x), (0.0, y), (-z, z), 0.015))
    build.thing(colour, box((-x, x), (y,), (-z, z), 0.015), 1)
    build.thing(shade(colour, 0.95), box((-x,), (0.02, y), (-z, z), 0.01), 0.5)


def _pole(build: FigureBuilder, rng: Generator, colour: Colour) -> None:
    """Sometimes with a board on top."""
    build.group()
    tall, r = rng.uniform(1.0, 4.0), rng.uniform(0.02, 0.12)
    build.thing(colour, box((0.0,), (0.0, tall), (0.0,), r))
    if rng.random() < 0.6:
        w, h = rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.4)
        build.thing(any_colour(rng), box((-w, w), (tall - h, tall + h), (0.05,), 0.02), 1)


def _bush(build: FigureBuilder, rng: Generator, _: Colour) -> None:
    build.group()
    green = (int(rng.uniform(40, 100)), int(rng.uniform(80, 140)), int(rng.uniform(30, 70)))
    size = rng.uniform(0.3, 0.9)
    for layer in range(14):
        x, y, z = rng.normal(0, 0.45 * size), rng.uniform(0.1, 1.0) * size, rng.normal(0, 0.3 * size)
        r = size * rng.uniform(0.12, 0.3)
        build.thing(shade(green, rng.uniform(0.65, 1.2)), [(x, y, z, r), (x, y + r, z, 0.3 * r)], layer)


def _tree(build: FigureBuilder, rng: Generator, _: Colour) -> None:
    build.group()
    r, tall = rng.uniform(0.1, 0.25), rng.uniform(1.8, 3.0)
    build.thing((88, 70, 54), [(0.0, 0.0, 0.0, 1.3 * r), (0.0, tall, 0.0, r)])
    green = (int(rng.uniform(40, 110)), int(rng.uniform(80, 140)), 50)
    for layer in range(10):
        x, y, z = rng.normal(0, 0.55, 3).tolist()
        build.thing(shade(green, rng.uniform(0.65, 1.2)), [(x, tall + 0.7 + 0.6 * y, z, 0.5)], 1 + layer)


def _rail(build: FigureBuilder, rng: Generator, colour: Colour) -> None:
    build.group()
    high, long = rng.uniform(0.7, 1.2), rng.uniform(1.0, 3.0)
    for y in (0.5 * high, high):
        build.thing(colour, box((-long, long), (y,), (0.0,), 0.025))
    for x in np.linspace(-long, long, 6).tolist():
        build.thing(shade(colour, 0.85), box((x,), (0.0, high), (0.0,), 0.025))


def _bin(build: FigureBuilder, rng: Generator, colour: Colour) -> None:
    build.group()
    r, high = rng.uniform(0.08, 0.35), rng.uniform(0.3, 1.0)
    build.thing(colour, [(r * c, y, r * s, 0.01) for c, s in circle(10) for y in (0.0, high)])
    build.thing(shade(colour, 0.7), [(r * c, high, r * s, 0.01) for c, s in circle(10)], 1)


def _dog(build: FigureBuilder, rng: Generator, colour: Colour) -> None:
    build.group()
    h = rng.uniform(0.3, 0.65)
    build.thing(colour, [(0.0, h, -0.6 * h, 0.24 * h), (0.0, h, 0.5 * h, 0.24 * h)], 1)
    for z, x in product((-0.6, 0.5), (0.15, -0.15)):
        build.thing(shade(colour, 0.85), [(x * h, 0.8 * h, z * h, 0.1 * h), (x * h, 0.05, z * h, 0.07 * h)])
    build.thing(shade(colour, 1.05), [(0.0, 1.35 * h, 0.8 * h, 0.17 * h), (0.0, 1.27 * h, 1.1 * h, 0.09 * h)], 2)
    build.thing(colour, [(0.0, h, 0.5 * h, 0.16 * h), (0.0, 1.3 * h, 0.75 * h, 0.12 * h)], 1.5)
    build.thing(shade(colour, 0.8), [(0.0, 1.1 * h, -0.75 * h, 0.05), (0.0, 1.5 * h, -1.0 * h, 0.03)])


def _car(build: FigureBuilder, _: Generator, colour: Colour) -> None:
    build.group()
    windows = ((-1.2, 0.85, 0.75), (1.4, 0.85, 0.75), (-0.7, 1.35, 0.6), (0.9, 1.35, 0.6))
    body = [(x, y, z, 0.12) for x in (-2.0, 2.0) for y in (0.4, 0.75) for z in (-0.75, 0.75)]
    build.thing(shade(colour, 0.9), body)
    build.thing((62, 74, 88), [(x, y, side * z, 0.08) for x, y, z in windows for side in (-1, 1)], 1)
    build.thing(colour, box((-0.7, 0.9), (1.42,), (-0.6, 0.6), 0.03), 2)
    for x, z in product((-1.3, 1.3), (-0.86, 0.86)):
        build.thing((30, 30, 32), [(x + 0.3 * c, 0.33 + 0.3 * s, z, 0.03) for c, s in circle(8)], 0.5)


def chair(build: FigureBuilder, rng: Generator, colour: Colour, seat: float = 0.45) -> None:
    """A seat at ``seat`` metres, on legs or a block, often with a back."""
    wide = (-0.22, 0.22)
    build.group(-0.08)
    build.thing(colour, box(wide, (seat - 0.04,), (-0.2, 0.22), 0.03), 1)
    if rng.random() < 0.35:
        build.thing(shade(colour, 0.8), box(wide, (0.02, seat - 0.05), (-0.2, 0.2), 0.02))
    else:
        for x, z in product(wide, (-0.2, 0.2)):
            build.thing(shade(colour, 0.7), box((x,), (0.0, seat - 0.05), (z,), 0.02))
    if rng.random() < 0.6:
        build.group(-0.1)
        build.thing(shade(colour, 0.95), box(wide, (seat + 0.1, seat + 0.5), (-0.26,), 0.025))


def table(build: FigureBuilder, rng: Generator, colour: Colour, height: float | None = None) -> None:
    """A table ahead of whoever sits at the origin, with things on it."""
    height = rng.uniform(0.5, 0.9) if height is None else height
    wide = rng.uniform(0.4, 0.9)
    build.group()
    build.thing(colour, box((-wide, wide), (height - 0.02,), (0.4, 1.1), 0.02), 1)
    for x, z in product((-wide, wide), (0.4, 1.1)):
        build.thing(shade(colour, 0.7), box((x,), (0.0, height - 0.03), (z,), 0.025))
    build.group(0.15)
    for _ in range(int(rng.integers(0, 5))):
        x, z, r = rng.uniform(-0.3, 0.3), rng.uniform(0.5, 0.9), rng.uniform(0.03, 0.07)
        top = height + rng.uniform(1, 4) * r
        build.thing(any_colour(rng), box((x,), (height + r, top), (z,), r))


def bicycle(build: FigureBuilder, _: Generator, colour: Colour, top: float = 0.95) -> None:
    """Its saddle at ``top`` metres, its front wheel ahead."""
    _wheels(build, 0.02)
    tubes = (
        ((0.4, 0.0), (top, -0.1)),
        ((top - 0.1, -0.08), (0.75, 0.35)),
        ((0.4, 0.0), (0.75, 0.36)),
        ((0.33, 0.55), (0.95, 0.33)),
        ((0.33, -0.52), (0.4, 0.0)),
    )
    for a, b in tubes:
        build.thing(colour, [(0.0, *a, 0.02), (0.0, *b, 0.02)], 1)
    _saddle(build, top)


def motorbike(build: FigureBuilder, colour: Colour, top: float) -> None:
    """Its saddle at ``top`` metres, its front wheel ahead."""
    _wheels(build, 0.06)
    build.thing(colour, [(0.0, 0.55, -0.3, 0.16), (0.0, 0.6, 0.3, 0.15), (0.0, top - 0.08, -0.35, 0.09)], 1)
    build.thing(shade(colour, 0.7), [(0.0, 0.33, 0.55, 0.04), (0.0, 1.0, 0.36, 0.06)], 2)
    _saddle(build, top)


def _wheels(build: FigureBuilder, thick: float) -> None:
    build.group()
    for z in (-0.52, 0.55):
        rim: list[Sphere] = [(0.0, 0.33 + (0.33 - thick) * s, z + (0.33 - thick) * c, thick) for c, s in circle(12)]
        for a, b in pairwise([*rim, rim[0]]):
            build.thing(BLACK, [a, b])


def _saddle(build: FigureBuilder, top: float) -> None:
    """Saddle and handlebar."""
    build.thing(BLACK, box((-0.28, 0.28), (0.98,), (0.34,), 0.02), 3)
    build.thing(BLACK, [(0.0, top, -0.2, 0.05), (0.0, top, 0.05, 0.03)], 3)


def horse(build: FigureBuilder, rng: Generator, colour: Colour, back: float | None = None) -> None:
    """Its back at ``back`` metres, its head ahead."""
    back = rng.uniform(0.9, 1.6) if back is None else back
    build.group(-0.02)
    build.thing(colour, [(0.0, back - 0.3, z, r) for z, r in ((-0.6, 0.29), (0.0, 0.28), (0.5, 0.29))], 1)
    for z, x in product((-0.7, 0.55), (0.15, -0.15)):
        leg = [(x, back - 0.45, z, 0.11), (x, 0.6, z + 0.05, 0.06), (x, 0.05, z, 0.05)]
        build.thing(shade(colour, 0.85), leg)
    build.group()
    build.thing(colour, [(0.0, back - 0.2, 0.6, 0.2), (0.0, back + 0.4, 1.0, 0.12)], 1)
    build.thing(shade(colour, 0.95), [(0.0, back + 0.42, 1.0, 0.13), (0.0, back + 0.1, 1.4, 0.08)], 2)
    build.thing(shade(colour, 0.5), [(0.0, back + 0.5, 0.9, 0.06), (0.0, back - 0.05, 0.5, 0.08)], 3)
    build.group(-0.1)
    build.thing(shade(colour, 0.5), [(0.0, back - 0.15, -0.9, 0.05), (0.0, back - 0.8, -1.0, 0.06)])


_THINGS: list[tuple[float, Thing]] = [
    (18, _crate), (10, _pole), (12, _bush), (6, _tree), (8, _rail), (8, _bin), (6, _dog), (8, _car), (8, chair),
    (9, table), (4, bicycle), (3, horse),
]  # fmt: skip
"""With how often they are sampled, relative to each other."""

_SCREENS: list[Thing] = [_crate, _crate, _bush, table, _rail, chair, _bin, bicycle]
