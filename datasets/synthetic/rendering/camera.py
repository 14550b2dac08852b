"""A pinhole camera, and what a real one does to its images: blur, exposure, colour, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.rendering.primitives import Array, rotation

Image: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. Continuous pixels: x right, y down.

    Attributes:
        focal: pixels of the image.
        centre: (cx, cy) pixels of the image.
        rotation: (3, 3) world to camera: x right, y down, z forward.
        position: (3,) world metres.
        light: (2,) direction in the image where light comes from.
        contrast: of lit and shaded sides, about 1.
    """

    focal: float
    centre: tuple[float, float]
    rotation: Array = field(default_factory=lambda: look(0.0, 0.0))
    position: Array = field(default_factory=lambda: np.zeros(3))
    light: tuple[float, float] = (-0.5, -0.5)
    contrast: float = 1.0

    def across(self, fraction: float, depth: float) -> float:
        """World x of a column given as a fraction of the width, for a camera above the origin."""
        return (fraction - 0.5) * (2 * self.centre[0]) / self.focal * depth

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points (N, 3) to pixels (N, 2) and depths (N,) in metres."""
        local = (points - self.position) @ self.rotation.T
        depth = local[:, 2]
        return self.focal * local[:, :2] / np.maximum(depth, 1e-3)[:, None] + self.centre, depth

    def horizon(self, x: float) -> float:
        """The row of the horizon at column x."""
        up = self.rotation[:, 1]
        offset = (x - self.centre[0]) * up[0] + self.focal * up[2]
        return float(self.centre[1] - offset / up[1])


def look(pitch: float, roll: float) -> Array:
    """The rotation of a camera that looks along -z, tipped down by ``pitch`` degrees."""
    return rotation(2, roll) @ rotation(0, pitch) @ np.diag((1.0, -1.0, -1.0))


def as_image(array: NDArray[np.generic]) -> Image:
    """What OpenCV returned for a uint8 image, typed as one."""
    return np.asarray(array, np.uint8)


def degrade(rng: np.random.Generator, image: Image) -> Image:
    """A copy of the RGB image as a camera might have stored it; nothing moves."""
    image = _develop(rng, _blur(rng, _uneven(rng, image)))
    noise = rng.integers(0, 256, image.shape, dtype=np.uint8)
    strength = rng.uniform(0, 0.12) ** 1.5
    image = as_image(cv2.addWeighted(image, 1.0, noise, strength, -128 * strength))
    if rng.random() < 0.35:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
        assert decoded is not None
        image = as_image(decoded)
    return image


def _uneven(rng: np.random.Generator, image: Image) -> Image:
    """Light, cloth and skin are never of one even colour."""
    height, width = image.shape[:2]
    level = np.full((height, width), 128, np.float32)
    for cells, strength in ((3, 30.0), (14, 14.0), (45, 12.0)):
        grid = rng.random((cells, cells), dtype=np.float32) - 0.5
        level += np.asarray(cv2.resize(grid, (width, height)), np.float32) * (strength * rng.uniform(0.3, 1.5))
    factor = level.astype(np.uint8)
    return as_image(cv2.multiply(image, cv2.merge((factor, factor, factor)), scale=1 / 128))


def _blur(rng: np.random.Generator, image: Image) -> Image:
    """Out of focus, enlarged, shaken, or sharp."""
    kind = rng.random()
    if kind < 0.4:
        return as_image(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)))
    if kind < 0.5:
        height, width = image.shape[:2]
        scale = rng.uniform(0.45, 0.8)
        small = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_AREA)
        return as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    if kind < 0.55:
        length = int(rng.choice((3, 5)))
        kernel = np.full((1, length) if rng.random() < 0.7 else (length, 1), 1 / length, np.float32)
        return as_image(cv2.filter2D(image, -1, kernel))
    return image


def _develop(rng: np.random.Generator, image: Image) -> Image:
    """Exposure, contrast, colour balance and saturation."""
    levels = np.arange(256) / 255
    gamma, gain, lift = rng.lognormal(0, 0.2), rng.normal(1.0, 0.08), rng.normal(0, 0.03)
    balance = np.exp(rng.normal(0, 0.05, 3))
    tables = 255 * np.clip((levels**gamma * gain + lift)[:, None] * balance, 0, 1)
    image = as_image(cv2.LUT(image, tables.astype(np.uint8)[:, None]))
    fade = 1.0 if rng.random() < 0.04 else rng.uniform(0, 0.35)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return as_image(cv2.addWeighted(image, 1 - fade, grey, fade, 0))
