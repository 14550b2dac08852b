"""Things that stand among the people, nearer or farther: furniture, plants, poles, cars, animals. Never people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datasets.synthetic.body import FRAMES, Array
from datasets.synthetic.parts import Figure, FigureBuilder, Sphere, darker
from datasets.synthetic.props import any_colour, bicycle, chair, horse, table
from datasets.synthetic.render import Camera
from datasets.synthetic.wardrobe import Colour


def sample_objects(rng: np.random.Generator, camera: Camera, depth: float, width: int) -> list[tuple[float, Figure]]:
    """Some things, each with its depth in metres; some before, most behind the people at ``depth``."""
    result = []
    for _ in range(int(rng.choice(5, p=(0.25, 0.25, 0.22, 0.16, 0.12)))):
        near = rng.random() < 0.27
        away = depth * float(rng.uniform(0.6, 0.95) if near else rng.uniform(1.05, 3.0))
        if away < 0.8:
            continue
        x = float(rng.uniform(-0.1, 1.1) - 0.5) * width / camera.focal * away
        build = FigureBuilder()
        _THINGS[int(rng.choice(len(_THINGS), p=_WEIGHTS))](build, rng, any_colour(rng))
        position = np.array([x, 0.0, camera.position[2] - away])
        result.append((away, _stand(build, position, float(rng.uniform(0, 360)))))
    return result


def screen(rng: np.random.Generator, x: float, depth: float) -> tuple[float, Figure]:
    """Something close before a person at world ``x`` and ``depth`` that hides mostly the legs."""
    build = FigureBuilder()
    _SCREENS[int(rng.integers(len(_SCREENS)))](build, rng, any_colour(rng))
    away = depth - float(rng.uniform(0.5, 0.9))
    position = np.array([x + float(rng.normal(0, 0.25)), 0.0, -away])
    return away, _stand(build, position, float(rng.normal(0, 25)))


def _stand(build: FigureBuilder, position: Array, yaw: float) -> Figure:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    turn = np.array(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))
    segments = len(FRAMES) + 1
    spheres, normals = build.place(np.broadcast_to(turn, (segments, 3, 3)), np.broadcast_to(position, (segments, 3)))
    return Figure(spheres, normals, build.parts, build.bias)


def _box(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    """A crate, a counter, a wall; with a lighter top."""
    x, y, z = float(rng.uniform(0.15, 1.0)), float(rng.uniform(0.25, 1.15)), float(rng.uniform(0.15, 0.5))
    corners = [(a * x, b * z) for a in (-1, 1) for b in (-1, 1)]
    build.group()
    build.add("object", darker(colour, 0.85), "ground", [(a, h, b, 0.015) for a, b in corners for h in (0.0, y)])
    build.add("object", colour, "ground", [(a, y, b, 0.015) for a, b in corners], 1)
    build.add("object", darker(colour, 0.95), "ground", [(-x, h, b * z, 0.01) for b in (-1, 1) for h in (0.02, y)], 0.5)


def _pole(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    tall, r = float(rng.uniform(1.0, 4.0)), float(rng.uniform(0.02, 0.12))
    build.add("object", colour, "ground", [(0.0, 0.0, 0.0, r), (0.0, tall, 0.0, r)])
    if rng.random() < 0.6:
        w, h = float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.1, 0.4))
        board = [(x, y, 0.05, 0.02) for x in (-w, w) for y in (tall - h, tall + h)]
        build.add("object", any_colour(rng), "ground", board, 1)


def _bush(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    del colour
    build.group()
    green = (int(rng.uniform(40, 100)), int(rng.uniform(80, 140)), int(rng.uniform(30, 70)))
    size = float(rng.uniform(0.3, 0.9))
    for layer in range(14):
        x, y, z = rng.normal(0, 0.45 * size), rng.uniform(0.1, 1.0) * size, rng.normal(0, 0.3 * size)
        row: Sphere = (float(x), float(y), float(z), size * float(rng.uniform(0.12, 0.3)))
        tip: Sphere = (row[0], row[1] + row[3], row[2], 0.3 * row[3])
        build.add("object", darker(green, float(rng.uniform(0.65, 1.2))), "ground", [row, tip], layer)


def _tree(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    r, tall = float(rng.uniform(0.1, 0.25)), float(rng.uniform(1.8, 3.0))
    build.add("object", (88, 70, 54), "ground", [(0.0, 0.0, 0.0, 1.3 * r), (0.0, tall, 0.0, r)])
    green = (int(rng.uniform(40, 110)), int(rng.uniform(80, 140)), 50)
    for layer in range(10):
        x, y, z = (float(v) for v in rng.normal(0, 0.55, 3))
        build.add(
            "object",
            darker(green, float(rng.uniform(0.65, 1.2))),
            "ground",
            [(x, tall + 0.7 + 0.6 * y, z, 0.5)],
            1 + layer,
        )


def _rail(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    high, long = float(rng.uniform(0.7, 1.2)), float(rng.uniform(1.0, 3.0))
    for y in (0.5 * high, high):
        build.add("object", colour, "ground", [(-long, y, 0.0, 0.025), (long, y, 0.0, 0.025)])
    for x in np.linspace(-long, long, 6):
        build.add("object", darker(colour, 0.85), "ground", [(float(x), 0.0, 0.0, 0.025), (float(x), high, 0.0, 0.025)])


def _bin(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    r, high = float(rng.uniform(0.08, 0.35)), float(rng.uniform(0.3, 1.0))
    ring = [(r * float(np.cos(a)), r * float(np.sin(a))) for a in np.arange(10) * np.pi / 5]
    build.add("object", colour, "ground", [(x, y, z, 0.01) for x, z in ring for y in (0.0, high)])
    build.add("object", darker(colour, 0.7), "ground", [(x, high, z, 0.01) for x, z in ring], 1)


def _dog(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    high = float(rng.uniform(0.3, 0.65))
    build.add("object", colour, "ground", [(0.0, high, z * high, 0.24 * high) for z in (-0.6, 0.5)], 1)
    for x, z in ((0.15, -0.6), (-0.15, -0.6), (0.15, 0.5), (-0.15, 0.5)):
        leg = [(x * high, 0.8 * high, z * high, 0.1 * high), (x * high, 0.05, z * high, 0.07 * high)]
        build.add("object", darker(colour, 0.85), "ground", leg)
    head = [(0.0, 1.35 * high, 0.8 * high, 0.17 * high), (0.0, 1.27 * high, 1.1 * high, 0.09 * high)]
    build.add("object", darker(colour, 1.05), "ground", head, 2)
    build.add(
        "object",
        colour,
        "ground",
        [(0.0, high, 0.5 * high, 0.16 * high), (0.0, 1.3 * high, 0.75 * high, 0.12 * high)],
        1.5,
    )
    build.add(
        "object",
        darker(colour, 0.8),
        "ground",
        [(0.0, 1.1 * high, -0.75 * high, 0.05), (0.0, 1.5 * high, -1.0 * high, 0.03)],
    )


def _car(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    build.group()
    body = [(x, y, z, 0.12) for x in (-2.0, 2.0) for y in (0.4, 0.75) for z in (-0.75, 0.75)]
    roof = [(-1.2, 0.85, 0.75), (1.4, 0.85, 0.75), (-0.7, 1.35, 0.6), (0.9, 1.35, 0.6)]
    both = [(x, y, side * z, 0.08) for x, y, z in roof for side in (-1, 1)]
    build.add("object", darker(colour, 0.9), "ground", body)
    build.add("object", (62, 74, 88), "ground", both, 1)
    build.add("object", colour, "ground", [(x, 1.42, z, 0.03) for x in (-0.7, 0.9) for z in (-0.6, 0.6)], 2)
    for x in (-1.3, 1.3):
        for z in (-0.86, 0.86):
            ring = [
                (x + 0.3 * float(np.cos(a)), 0.33 + 0.3 * float(np.sin(a)), z, 0.03) for a in np.arange(8) * np.pi / 4
            ]
            build.add("object", (30, 30, 32), "ground", ring, 0.5)


def _chair(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    chair(build, rng, colour, 0.45)


def _table(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    table(build, rng, colour, float(rng.uniform(0.5, 0.9)))


def _bicycle(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    bicycle(build, colour, 0.95)


def _animal(build: FigureBuilder, rng: np.random.Generator, colour: Colour) -> None:
    horse(build, colour, float(rng.uniform(0.9, 1.6)))


_CHOICES: list[tuple[float, Callable[[FigureBuilder, np.random.Generator, Colour], None]]] = [
    (18, _box), (10, _pole), (12, _bush), (6, _tree), (8, _rail), (8, _bin), (6, _dog), (8, _car), (8, _chair),
    (9, _table), (4, _bicycle), (3, _animal),
]  # fmt: skip
_SCREENS = [_box, _box, _bush, _table, _rail, _chair, _bin, _bicycle]
_THINGS = [thing for _, thing in _CHOICES]
_WEIGHTS = [weight / sum(w for w, _ in _CHOICES) for weight, _ in _CHOICES]
