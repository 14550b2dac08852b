"""What is behind the people: parks, beaches, streets, rooms, sports grounds, mere clutter. Never people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from datasets.synthetic.rendering.camera import Camera, Image, as_image
from datasets.synthetic.rendering.primitives import Colour, shade, vary

_SKIES = ((96, 150, 215), (170, 185, 200), (215, 220, 226), (225, 170, 120))
_GROUNDS = (
    (92, 122, 62), (120, 135, 80), (205, 188, 150), (150, 130, 105), (232, 236, 242), (70, 110, 130), (130, 128, 124),
)  # fmt: skip
"""Grass, dry grass, sand, earth, snow, water, gravel."""

_FLOORS = (
    (150, 110, 72), (110, 76, 50), (190, 180, 165), (140, 140, 142), (96, 90, 90), (205, 195, 180), (70, 80, 100),
)  # fmt: skip
_COURTS = ((60, 110, 75), (60, 90, 150), (170, 95, 70), (96, 132, 66), (196, 164, 120), (230, 235, 242))
_FRONTS = ((176, 150, 128), (150, 150, 152), (150, 92, 74), (205, 198, 185), (96, 104, 116))
_WALLS = ((214, 206, 192), (196, 200, 204), (168, 150, 130), (120, 128, 136), (226, 224, 220))


def paint_background(rng: Generator, height: int, width: int, camera: Camera, reach: float) -> Image:
    """An image (height, width, 3) without people whose ground fits the camera; walls stand beyond ``reach`` metres."""
    canvas = _Canvas(rng, height, width, camera, reach)
    painters = (_outdoors, _street, _room, _sports, _clutter)
    painters[int(rng.choice(5, p=(0.27, 0.2, 0.3, 0.13, 0.1)))](canvas)
    if rng.random() < 0.45:
        return as_image(cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.4, 0.016 * width + 0.5)))
    return canvas.image


class _Canvas:
    """The image being painted, its camera, how far the things in it reach, and its random numbers."""

    def __init__(self, rng: Generator, height: int, width: int, camera: Camera, reach: float) -> None:
        self.rng, self.height, self.width, self.camera, self.reach = rng, height, width, camera, reach
        self.image: Image = np.zeros((height, width, 3), np.uint8)
        ends = (camera.horizon(0), camera.horizon(width))
        self.left, self.right = (float(np.clip(row, -3 * height, 4 * height)) for row in ends)
        self.horizon = (self.left + self.right) / 2

    def drop(self, away: float) -> float:
        """Pixels from the horizon down to the ground ``away`` metres ahead."""
        return float(self.camera.focal * self.camera.position[1] / away)

    def near(self, colour: Colour, spread: float) -> Colour:
        """A colour around this one."""
        return vary(self.rng, colour, spread, 0.5)

    def one_of(self, colours: tuple[Colour, ...], spread: float) -> Colour:
        """A colour around one of these."""
        return self.near(colours[int(self.rng.integers(len(colours)))], spread)

    def any_colour(self) -> Colour:
        """Mostly dull, sometimes bright."""
        grey = int(self.rng.uniform(30, 225))
        return self.near((grey, grey, grey), float(self.rng.choice((8, 25, 70))))

    def noise(self, cells: float, stretch: float = 1.0) -> NDArray[np.float32]:
        """Smooth noise (H, W) about -1 to 1; ``cells`` across the image, ``stretch`` times wider than high."""
        total = np.zeros((self.height, self.width), np.float32)
        strength = 1.2
        for _ in range(4):
            shape = (min(self.height, int(cells * stretch) + 2), min(self.width, int(cells) + 2))
            grid = self.rng.random(shape, dtype=np.float32) - 0.5
            total += np.asarray(cv2.resize(grid, (self.width, self.height)), np.float32) * strength
            cells, strength = cells * 2.7, strength * 0.62
        return total

    def texture(self, colour: Colour, contrast: float, cells: float, stretch: float = 1.0) -> Image:
        """The colour under smooth noise."""
        table = np.arange(256, dtype=np.float32)[:, None] / 127.5 - 1.0
        shades = np.clip((1 + contrast * table) * np.array(colour, np.float32), 0, 255).astype(np.uint8)
        level = np.clip(127.5 + 127.5 * self.noise(cells, stretch), 0, 255).astype(np.uint8)
        return as_image(cv2.LUT(cv2.merge((level, level, level)), shades[:, None]))

    def below(self, texture: Image, drop: float = 0.0) -> None:
        """Fills everything below the horizon, moved down by ``drop`` pixels."""
        w, bottom = self.width, 5 * self.height
        self.fill(np.array([(0, self.left + drop), (w, self.right + drop), (w, bottom), (0, bottom)]), texture)

    def fill(self, polygon: NDArray[np.float64], texture: Image | Colour) -> None:
        """Fills a polygon (V, 2) with a texture or a colour."""
        points = polygon.round().clip(-20000, 20000).astype(np.int32)
        if isinstance(texture, tuple):
            cv2.fillPoly(self.image, [points], texture)
            return
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [points], 255)
        cv2.copyTo(texture, mask, self.image)

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Left, top, width, height in pixels."""
        cv2.rectangle(self.image, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Centre and radius in pixels."""
        cv2.circle(self.image, (int(x), int(y)), int(radius), colour, -1)

    def ground_line(self, a: tuple[float, float], b: tuple[float, float], colour: Colour, metres: float) -> None:
        """A line on the ground between two points (x, distance) in metres."""
        uv, depth = self.camera.project(np.array([(a[0], 0.0, -a[1]), (b[0], 0.0, -b[1])]))
        if depth.min() < 0.3 or np.abs(uv).max() > 15000:
            return
        thick = max(1, int(self.camera.focal * metres / float(depth.mean())))
        first, last = uv.astype(int).tolist()
        cv2.line(self.image, first, last, colour, min(thick, 40), cv2.LINE_AA)


def _outdoors(canvas: _Canvas) -> None:
    """Park, beach, mountain, snow, water."""
    rng = canvas.rng
    _sky(canvas)
    for _ in range(int(rng.integers(0, 3))):
        _ridge(canvas, canvas.near((70, 92, 62), 25), rng.uniform(0.03, 0.4))
    ground = canvas.one_of(_GROUNDS, 14)
    canvas.below(canvas.texture(ground, rng.uniform(0.1, 0.5), rng.uniform(3, 14), rng.uniform(1, 5)))
    for _ in range(int(rng.choice(4, p=(0.3, 0.3, 0.2, 0.2)))):
        _tree(canvas)
    if rng.random() < 0.3:
        _fence(canvas)


def _sky(canvas: _Canvas) -> None:
    top, low = canvas.one_of(_SKIES, 20), canvas.near((215, 222, 230), 20)
    mix = np.clip(np.arange(canvas.height) / max(canvas.horizon, 1.0), 0, 1)[:, None, None]
    canvas.image[:] = (np.array(top) * (1 - mix) + np.array(low) * mix).astype(np.uint8)
    if canvas.rng.random() < 0.5:
        cloud = np.clip(canvas.noise(3, 2.0) * 1.3, 0, 1)[..., None] * canvas.rng.uniform(0.3, 0.9)
        canvas.image = (canvas.image * (1 - cloud) + 245 * cloud).astype(np.uint8)


def _ridge(canvas: _Canvas, colour: Colour, rise: float) -> None:
    """Hills or a row of trees on the horizon."""
    rng, right, bottom = canvas.rng, canvas.width + 5, canvas.height * 5
    rough = np.cumsum(rng.normal(0, 1, 24)) * 0.03 + rng.uniform(0, 1, 24) * rng.uniform(0.02, 0.3)
    y = canvas.horizon - canvas.height * (rise + (rough - rough.mean()) * rise)
    points = np.concatenate((np.column_stack((np.linspace(-5, right, 24), y)), [(right, bottom), (-5, bottom)]))
    canvas.fill(points, canvas.texture(colour, 0.5, 12))


def _tree(canvas: _Canvas) -> None:
    rng = canvas.rng
    size = canvas.height * rng.uniform(0.2, 0.9)
    x, foot = rng.uniform(0, canvas.width), canvas.horizon + 0.12 * size
    canvas.rectangle(x - 0.02 * size, foot - size, 0.05 * size, size, canvas.near((84, 66, 50), 15))
    green = canvas.near((66, 98, 48), 24)
    for _ in range(12):
        at = (x + rng.normal(0, 0.17) * size, foot - size * rng.uniform(0.55, 1.1))
        leaves = shade(green, rng.uniform(0.6, 1.25))
        canvas.disc(*at, size * rng.uniform(0.06, 0.16), leaves)


def _fence(canvas: _Canvas) -> None:
    colour, away = canvas.any_colour(), canvas.rng.uniform(6, 25)
    tall = canvas.camera.focal * canvas.rng.uniform(0.8, 2.5) / away
    foot, step = canvas.horizon + canvas.drop(away), max(4, int(tall * 0.4))
    posts = [((x, int(foot)), (x, int(foot - tall))) for x in range(0, canvas.width, step)]
    rows = [int(foot - height * tall) for height in (0.3, 0.9)]
    for a, b in posts + [((0, y), (canvas.width, y)) for y in rows]:
        cv2.line(canvas.image, a, b, colour, max(1, step // 8))


def _street(canvas: _Canvas) -> None:
    """House fronts, a road or a pavement, cars at its side, signs."""
    rng = canvas.rng
    _sky(canvas)
    x = -0.1 * canvas.width
    while x < canvas.width:
        w = canvas.width * rng.uniform(0.15, 0.6)
        _house(canvas, x, w, canvas.height * rng.uniform(0.2, 1.0))
        x += w
    road = canvas.texture(canvas.near((118, 116, 114), 22), rng.uniform(0.08, 0.25), 10, 3.0)
    canvas.below(road, 0.01 * canvas.height)
    line = canvas.near((225, 225, 215), 15)
    for at in rng.uniform(-8, 8, int(rng.integers(0, 4))).tolist():
        canvas.ground_line((at, 1.0), (at, 60.0), line, 0.15)
    if rng.random() < 0.4:
        for at in np.arange(0, 40, rng.uniform(0.8, 2.0)).tolist():
            canvas.ground_line((-30, 2 + at), (30, 2 + at), canvas.near((95, 93, 92), 8), 0.03)
    for _ in range(int(rng.integers(0, 4))):
        _car(canvas)
    _signs(canvas, int(rng.integers(0, 5)))


def _house(canvas: _Canvas, x: float, w: float, h: float) -> None:
    rng, foot = canvas.rng, canvas.horizon + 0.02 * canvas.height
    canvas.rectangle(x, foot - h, w, h, canvas.one_of(_FRONTS, 18))
    pane, columns = canvas.near((86, 100, 116), 30), int(rng.integers(2, 7))
    step = w / columns
    for row in range(max(1, int(h / (1.3 * step)))):
        for column in range(columns):
            if rng.random() < 0.88:
                left, top = x + step * (column + 0.22), foot - h + step * (0.3 + 1.3 * row)
                canvas.rectangle(left, top, 0.56 * step, 0.8 * step, pane)


def _car(canvas: _Canvas) -> None:
    rng = canvas.rng
    unit = canvas.camera.focal / rng.uniform(6, 30)
    x, foot = rng.uniform(-0.2, 1.0) * canvas.width, canvas.horizon + canvas.camera.position[1] * unit
    body = canvas.any_colour()
    canvas.rectangle(x, foot - 0.85 * unit, 4.2 * unit, 0.6 * unit, body)
    roof = np.array([(0.6, 0.8), (1.2, 1.4), (3.0, 1.4), (3.7, 0.8)])
    glass = np.array([(0.9, 0.85), (1.3, 1.3), (2.9, 1.3), (3.4, 0.85)])
    for outline, colour in ((roof, body), (glass, (60, 72, 84))):
        canvas.fill(np.array((x, foot)) + outline * (unit, -unit), colour)
    for at in (0.9, 3.3):
        canvas.disc(x + at * unit, foot - 0.32 * unit, max(1, 0.33 * unit), (28, 28, 30))


def _signs(canvas: _Canvas, count: int) -> None:
    """Boards with something like writing."""
    rng = canvas.rng
    for _ in range(count):
        w, h = canvas.width * rng.uniform(0.05, 0.25), canvas.height * rng.uniform(0.03, 0.12)
        x, y = rng.uniform(0, canvas.width), canvas.horizon - canvas.height * rng.uniform(0.05, 0.5)
        canvas.rectangle(x, y, w, h, canvas.any_colour())
        ink = canvas.any_colour()
        for at in np.arange(0.1, 0.9, 0.12).tolist():
            if rng.random() < 0.8:
                canvas.rectangle(x + w * at, y + 0.25 * h, 0.07 * w, h * rng.uniform(0.3, 0.5), ink)


def _room(canvas: _Canvas) -> None:
    """A wall with things on it, a floor, sometimes a corner."""
    rng, w, h = canvas.rng, canvas.width, canvas.height
    wall = canvas.one_of(_WALLS, 20)
    canvas.image[:] = canvas.texture(wall, rng.uniform(0.05, 0.2), 2)
    if rng.random() < 0.4:
        corner = rng.uniform(0.1, 0.9) * w
        canvas.fill(np.array([(corner, -h), (w + 9, -h), (w + 9, 2 * h), (corner, 2 * h)]), canvas.near(wall, 15))
    for _ in range(int(rng.integers(1, 8))):
        _furniture(canvas)
    away = max(rng.uniform(2, 9), canvas.reach + 0.4)
    floor = canvas.one_of(_FLOORS, 16)
    canvas.below(canvas.texture(floor, rng.uniform(0.08, 0.3), 5, 3.0), canvas.drop(away))
    if rng.random() < 0.6:
        step, seam = rng.uniform(0.2, 0.7), canvas.near(floor, 14)
        for at in np.arange(-6, 6, step).tolist():
            canvas.ground_line((at, 0.8), (at, away), seam, 0.012)
        for at in np.arange(0.8, away, step).tolist() if rng.random() < 0.5 else ():
            canvas.ground_line((-8, at), (8, at), seam, 0.012)


def _furniture(canvas: _Canvas) -> None:
    """A painting, window, door, shelf or cupboard, as rectangles within rectangles."""
    rng, w, h = canvas.rng, canvas.width, canvas.height
    x, y = rng.uniform(-0.1, 0.95) * w, canvas.horizon + rng.uniform(-0.6, 0.15) * h
    wide, high = w * rng.uniform(0.06, 0.35), h * rng.uniform(0.08, 0.5)
    frame, inside = canvas.any_colour(), canvas.any_colour()
    canvas.rectangle(x, y, wide, high, frame)
    kind = rng.random()
    if kind < 0.35:
        canvas.rectangle(x + 0.08 * wide, y + 0.08 * high, 0.84 * wide, 0.84 * high, inside)
    elif kind < 0.6:
        bright = canvas.near((225, 232, 240), 15)
        for column in (0.06, 0.54):
            canvas.rectangle(x + column * wide, y + 0.06 * high, 0.4 * wide, 0.88 * high, bright)
    else:
        rows, columns = int(rng.integers(2, 5)), int(rng.integers(3, 9))
        for row, column in np.ndindex(rows, columns):
            tall = rng.uniform(0.5, 0.85) / rows
            at = (x + (column + 0.15) * wide / columns, y + high * ((row + 0.95) / rows - tall))
            canvas.rectangle(*at, 0.75 * wide / columns, tall * high, canvas.near(inside, 45))


def _sports(canvas: _Canvas) -> None:
    """A court, pitch or slope with lines, hoardings behind it."""
    rng = canvas.rng
    _sky(canvas)
    _ridge(canvas, canvas.near((60, 78, 60), 25), rng.uniform(0.1, 0.8))
    court = canvas.one_of(_COURTS, 14)
    away = max(rng.uniform(8, 30), canvas.reach)
    tall = canvas.camera.focal / away * rng.uniform(0.8, 3)
    foot = canvas.horizon + canvas.drop(away)
    x = 0.0
    while x < canvas.width:
        wide = canvas.width * rng.uniform(0.1, 0.4)
        canvas.rectangle(x, foot - tall, wide, tall + 0.1 * canvas.height, canvas.any_colour())
        x += wide
    _signs(canvas, int(rng.integers(0, 4)))
    canvas.below(canvas.texture(court, rng.uniform(0.03, 0.25), 12, 3.0), foot - canvas.horizon)
    for _ in range(int(rng.integers(1, 6))):
        (x1, x2), (z1, z2) = rng.uniform(-9, 9, 2).tolist(), rng.uniform(1.5, away, 2).tolist()
        end = (x1, z2) if rng.random() < 0.5 else (x2, z1)
        canvas.ground_line((x1, z1), end, (240, 240, 236), 0.08)


def _clutter(canvas: _Canvas) -> None:
    """Shapes and noise without a meaning, so that nothing but people looks like people."""
    rng, w, h = canvas.rng, canvas.width, canvas.height
    canvas.image[:] = canvas.texture(canvas.any_colour(), rng.uniform(0.1, 0.8), rng.uniform(2, 20))
    for _ in range(int(rng.integers(3, 25))):
        centre, size = (int(rng.uniform(0, w)), int(rng.uniform(0, h))), h * rng.lognormal(-2.2, 0.7)
        kind, colour = rng.random(), canvas.any_colour()
        axes = (max(1, int(size * rng.uniform(0.3, 1.5))), max(1, int(size * rng.uniform(0.3, 1.5))))
        if kind < 0.35:
            cv2.ellipse(canvas.image, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind < 0.7:
            corners = np.array(centre) + rng.normal(0, size, (int(rng.integers(3, 6)), 2))
            canvas.fill(corners, canvas.texture(colour, 0.4, 10) if size > 0.15 * h else colour)
        else:
            end = (int(centre[0] + rng.normal(0, 3) * size), int(centre[1] + rng.normal(0, 3) * size))
            cv2.line(canvas.image, centre, end, colour, max(1, int(0.4 * size)), cv2.LINE_AA)
