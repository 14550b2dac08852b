"""Who stands where, and the camera that sees them.

World frame: x right, y up, z towards the camera, which stands above the origin; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from datasets.synthetic.body import limited, sample_shape
from datasets.synthetic.figure import build_person
from datasets.synthetic.objects import sample_objects, screen
from datasets.synthetic.parts import Figure
from datasets.synthetic.pose import Action, sample_action
from datasets.synthetic.render import Camera, Shape2D, look
from datasets.synthetic.wardrobe import sample_outfit

_LAYOUTS = {"alone": 0.45, "others": 0.25, "group": 0.2, "crowd": 0.1}


@dataclass
class Actor:
    """A person or an object of a scene.

    Attributes:
        depth: metres from the camera along the ground.
        figure: what is drawn.
        action: what a person does.
        facing: degrees by which a person turns from the camera, positive to the person's left.
        person: False for an object.
        shapes: its outlines in the image, set once the camera is known.
    """

    depth: float
    figure: Figure
    action: str = ""
    facing: float = 0.0
    person: bool = True
    shapes: list[Shape2D] = field(default_factory=list)


@dataclass(frozen=True)
class _Lens:
    """What decides where a person appears before the camera's tilt is known: pixels, and pixels per unit slope."""

    height: int
    width: int
    focal: float

    def across(self, share: float, depth: float) -> float:
        """World x of a column given as a fraction of the width."""
        return (share - 0.5) * self.width / self.focal * depth


def sample_cast(rng: np.random.Generator, height: int, width: int) -> tuple[Camera, list[Actor]]:
    """A camera, and actors from far to near. The first person drawn decides the framing."""
    lens = _Lens(height, width, float(np.clip(rng.lognormal(0.3, 0.35), 0.7, 3.0)) * max(height, width))
    layout = str(rng.choice(list(_LAYOUTS), p=list(_LAYOUTS.values())))
    median = {"alone": 0.9, "others": 1.0, "group": 1.0, "crowd": 0.3}[layout]
    size = float(np.clip(rng.lognormal(np.log(median), 0.7), 0.14, 3.5))
    depth = max(0.9, lens.focal * 1.7 / (size * height))
    main = _person(rng, lens.across(float(rng.normal(0.5, 0.16)), depth), depth)
    camera = _aim(rng, lens, main)
    actors = [main, *_company(rng, lens, layout, main)]
    things = sample_objects(rng, camera, depth, width)
    for actor in actors:
        if actor.depth > 1.8 and rng.random() < 0.2:
            things.append(screen(rng, float(actor.figure.spheres[:, 0].mean()), actor.depth))
    actors += [Actor(away, figure, person=False) for away, figure in things]
    return camera, sorted(actors, key=lambda actor: -actor.depth)


def _aim(rng: np.random.Generator, lens: _Lens, main: Actor) -> Camera:
    """Puts the whole body, or the head of one too big for the image, where photographers put them."""
    assert main.figure.keypoints is not None
    body = main.figure.keypoints[:, 1]
    top, bottom, head = float(body.max()) + 0.12, float(body.min()) - 0.08, float(body[0])
    eye = float(np.clip(rng.normal(1.45, 0.3), 0.4, 2.2)) if rng.random() < 0.87 else float(rng.uniform(0.2, 4.5))
    fits = (top - bottom) * lens.focal / main.depth < 0.95 * lens.height
    if fits:
        target, row = (top + bottom) / 2, float(np.clip(rng.normal(0.52, 0.09), 0.25, 0.75))
    elif rng.random() < 0.88:
        target, row = head, float(rng.uniform(0.1, 0.4))
    else:
        target, row = float(rng.uniform(bottom, top)), 0.5
    eye = float(np.clip(eye, target - 0.5 * main.depth, target + 0.7 * main.depth))
    drop = np.degrees(np.arctan2(eye - target, main.depth) - np.arctan((row - 0.5) * lens.height / lens.focal))
    light = (float(rng.choice((-1, 1)) * rng.uniform(0.3, 0.9)), -float(rng.uniform(0.3, 0.8)))
    centre, contrast = (lens.width / 2, lens.height / 2), float(rng.uniform(0.45, 1.15))
    rotation = look(float(drop), float(rng.normal(0, 3)))
    return Camera(lens.focal, centre, rotation, np.array([0.0, eye, 0.0]), light, contrast)


def _company(rng: np.random.Generator, lens: _Lens, layout: str, main: Actor) -> list[Actor]:
    """Everyone else; people keep some distance, and mostly stand where there is room in the image."""
    assert main.figure.keypoints is not None
    count = {"alone": 0, "others": int(rng.integers(1, 5)), "group": int(rng.integers(1, 6))}.get(
        layout, int(rng.integers(4, 12))
    )
    places = [(float(main.figure.keypoints[:, 0].mean()), main.depth)]
    step = float(rng.choice((-1, 1)))
    for number in range(count):
        tries = [_place(rng, lens, layout, places[0], step * (number + 1)) for _ in range(5)]
        free = [place for place in tries if all((place[0] - x) ** 2 + (place[1] - z) ** 2 > 0.16 for x, z in places)]
        if free:
            places.append(max(free, key=lambda place: _room(lens, place, places)))
        step = -step if rng.random() < 0.7 else step
    return [_person(rng, x, depth) for x, depth in places[1:]]


def _room(lens: _Lens, place: tuple[float, float], places: list[tuple[float, float]]) -> float:
    """Gap to the nearest neighbour in the image, in shoulder widths of the nearer of the two."""
    return min(abs(place[0] / place[1] - x / z) * min(place[1], z) / 0.5 for x, z in places)


def _place(
    rng: np.random.Generator, lens: _Lens, layout: str, main: tuple[float, float], step: float
) -> tuple[float, float]:
    """World x and depth."""
    x, depth = main
    if layout == "group":
        return x + step * float(rng.uniform(0.4, 0.8)), max(0.9, depth + float(rng.normal(0, 0.3)))
    spread = rng.lognormal(0.5, 0.45) if layout == "others" else rng.uniform(0.75, 3.0)
    away = max(0.9, depth * float(spread))
    return lens.across(float(rng.uniform(0.0, 1.0)), away), away


def _person(rng: np.random.Generator, x: float, depth: float) -> Actor:
    shape, action = sample_shape(rng), sample_action(rng)
    facing = float(rng.normal(0, 48)) if rng.random() < 0.7 else float(rng.uniform(-180, 180))
    if abs(facing) < 110 and rng.random() < 0.5:
        action = _looking_back(rng, action, facing)
    towards = -float(np.degrees(np.arctan2(x, depth)))
    outfit = sample_outfit(rng, shape.woman, shape.child)
    figure = build_person(rng, shape, action, facing + towards, outfit, np.array([x, 0.0, -depth]))
    return Actor(depth, figure, action.name, facing)


def _looking_back(rng: np.random.Generator, action: Action, facing: float) -> Action:
    """Turns the head towards the camera, as people do when their image is taken."""
    pose = action.pose | {"look": -(facing + action.pose.get("turn", 0.0)) * float(rng.uniform(0.6, 1.1))}
    return replace(action, pose=limited(pose))
