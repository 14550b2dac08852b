"""Colour augmentation of one uint8 image: a single matrix, then now and then blur or JPEG artefacts."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114])

GREY_CHANCE, BLUR_CHANCE, JPEG_CHANCE = 0.05, 0.1, 0.1
"""At strength 1."""


def jitter_colour(image: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Brightness, contrast, saturation and hue by one matrix, then blur or JPEG artefacts with small chances.

    Args:
        image: (H, W, 3) uint8, RGB.
        rng: source of all draws.
        strength: 0 leaves the image as it is, 1 is strong.
    """
    if strength <= 0:
        return image
    image = np.asarray(cv2.transform(image, colour_matrix(rng, strength)), np.uint8)
    if rng.random() < BLUR_CHANCE * strength:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < JPEG_CHANCE * strength:
        quality = int(rng.integers(30, 90))
        image = np.asarray(
            cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8
        )
    return image


def colour_matrix(rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """(3, 4) matrix that takes RGB1 to RGB: all of the jitter is linear, so it costs one pass."""
    gain, contrast = rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, 2)
    saturation = rng.uniform(1 - 0.5 * strength, 1 + 0.5 * strength)
    if rng.random() < GREY_CHANCE * strength:
        saturation = 0.0
    turn = _hue_rotation(rng.uniform(-0.1, 0.1) * strength * np.pi)
    grey = np.tile(_LUMA, (3, 1))
    linear = gain * contrast * (saturation * turn + (1 - saturation) * grey)
    offset = gain * (1 - contrast) * 128.0
    return np.concatenate([linear, np.full((3, 1), offset)], axis=1)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """Rotation about the grey axis of RGB space (Rodrigues' formula)."""
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return np.asarray(cosine * np.eye(3) + sine * cross + (1 - cosine) / 3, np.float64)
