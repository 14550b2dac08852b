"""Who stands where, and the camera that sees them.

World frame: x right, y up, z towards the camera, which stands above the origin; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from datasets.synthetic.human.appearance import sample_outfit
from datasets.synthetic.human.body import limited, sample_shape
from datasets.synthetic.human.figure import build_person
from datasets.synthetic.human.pose import sample_action
from datasets.synthetic.objects import sample_objects, sample_screen
from datasets.synthetic.rendering.camera import Camera, look
from datasets.synthetic.rendering.primitives import Figure

_LAYOUTS = {"alone": (0.45, 0.9), "others": (0.25, 1.0), "group": (0.2, 1.0), "crowd": (0.1, 0.3)}
"""Probability, and median height of the first person in heights of the image."""


@dataclass(frozen=True, eq=False)
class Actor:
    """A person or an object of a scene.

    Attributes:
        depth: metres from the camera along the ground.
        figure: what is drawn.
        action: what a person does; empty for an object.
        facing: degrees by which a person turns from the camera, positive to the person's left.
    """

    depth: float
    figure: Figure
    action: str = ""
    facing: float = 0.0

    @property
    def is_person(self) -> bool:
        """Whether it has keypoints."""
        return len(self.figure.keypoints) > 0


def place_actors(rng: Generator, height: int, width: int) -> tuple[Camera, list[Actor]]:
    """A camera, and actors from far to near. The first person sampled decides the framing."""
    focal = float(np.clip(rng.lognormal(0.3, 0.35), 0.7, 3.0)) * max(height, width)
    camera = Camera(focal, (width / 2, height / 2))
    layout = str(rng.choice(list(_LAYOUTS), p=[probability for probability, _ in _LAYOUTS.values()]))
    size = float(np.clip(rng.lognormal(np.log(_LAYOUTS[layout][1]), 0.7), 0.14, 3.5))
    depth = max(0.9, focal * 1.7 / (size * height))
    main = _sample_person(rng, camera.across(rng.normal(0.5, 0.16), depth), depth)
    camera = _aim(rng, camera, main)
    actors = [main, *_sample_company(rng, camera, layout, main)]
    things = sample_objects(rng, camera, depth)
    for actor in actors:
        if actor.depth > 1.8 and rng.random() < 0.2:
            things.append(sample_screen(rng, float(actor.figure.spheres[:, 0].mean()), actor.depth))
    actors += [Actor(away, figure) for away, figure in things]
    return camera, sorted(actors, key=lambda actor: -actor.depth)


def _aim(rng: Generator, camera: Camera, main: Actor) -> Camera:
    """Puts the whole body, or the head of one too big for the image, where photographers put them."""
    body, height = main.figure.keypoints[:, 1], 2 * camera.centre[1]
    top, bottom, head = float(body.max()) + 0.12, float(body.min()) - 0.08, float(body[0])
    eye = float(np.clip(rng.normal(1.45, 0.3), 0.4, 2.2)) if rng.random() < 0.87 else rng.uniform(0.2, 4.5)
    if (top - bottom) * camera.focal / main.depth < 0.95 * height:
        target, row = (top + bottom) / 2, float(np.clip(rng.normal(0.52, 0.09), 0.25, 0.75))
    elif rng.random() < 0.88:
        target, row = head, rng.uniform(0.1, 0.4)
    else:
        target, row = rng.uniform(bottom, top), 0.5
    eye = float(np.clip(eye, target - 0.5 * main.depth, target + 0.7 * main.depth))
    drop = np.degrees(np.arctan2(eye - target, main.depth) - np.arctan((row - 0.5) * height / camera.focal))
    light = (float(rng.choice((-1, 1)) * rng.uniform(0.3, 0.9)), -rng.uniform(0.3, 0.8))
    contrast, rotation = rng.uniform(0.45, 1.15), look(float(drop), rng.normal(0, 3))
    return replace(camera, rotation=rotation, position=np.array([0.0, eye, 0.0]), light=light, contrast=contrast)


def _sample_company(rng: Generator, camera: Camera, layout: str, main: Actor) -> list[Actor]:
    """Everyone else; people keep some distance, and mostly stand where there is room in the image."""
    counts = {
        "alone": 0,
        "others": int(rng.integers(1, 5)),
        "group": int(rng.integers(1, 6)),
        "crowd": int(rng.integers(4, 12)),
    }
    places = [(float(main.figure.keypoints[:, 0].mean()), main.depth)]
    step = float(rng.choice((-1, 1)))
    for number in range(counts[layout]):
        tries = [_sample_place(rng, camera, layout, places[0], step * (number + 1)) for _ in range(5)]
        free = [place for place in tries if all((place[0] - x) ** 2 + (place[1] - z) ** 2 > 0.16 for x, z in places)]
        if free:
            places.append(max(free, key=lambda place: _room(place, places)))
        step = -step if rng.random() < 0.7 else step
    return [_sample_person(rng, x, depth) for x, depth in places[1:]]


def _room(place: tuple[float, float], places: list[tuple[float, float]]) -> float:
    """Gap to the nearest neighbour in the image, in shoulder widths of the nearer of the two."""
    return min(abs(place[0] / place[1] - x / z) * min(place[1], z) / 0.5 for x, z in places)


def _sample_place(
    rng: Generator, camera: Camera, layout: str, main: tuple[float, float], step: float
) -> tuple[float, float]:
    """World x and depth."""
    x, depth = main
    if layout == "group":
        return x + step * rng.uniform(0.4, 0.8), max(0.9, depth + rng.normal(0, 0.3))
    spread = rng.lognormal(0.5, 0.45) if layout == "others" else rng.uniform(0.75, 3.0)
    away = max(0.9, depth * spread)
    return camera.across(rng.uniform(0.0, 1.0), away), away


def _sample_person(rng: Generator, x: float, depth: float) -> Actor:
    shape, action = sample_shape(rng), sample_action(rng)
    facing = rng.normal(0, 48) if rng.random() < 0.7 else rng.uniform(-180, 180)
    if abs(facing) < 110 and rng.random() < 0.5:
        # Turns the head towards the camera, as people do who are photographed.
        back = -(facing + action.pose["turn"]) * rng.uniform(0.6, 1.1)
        action = replace(action, pose=limited(action.pose | {"look": back}))
    towards = -float(np.degrees(np.arctan2(x, depth)))
    outfit = sample_outfit(rng, shape.woman, shape.child)
    figure = build_person(rng, shape, action, facing + towards, outfit, np.array([x, 0.0, -depth]))
    return Actor(depth, figure, action.name, facing)
