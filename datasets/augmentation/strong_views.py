"""The paths of one unlabelled image to the student: hard to read each in its own way, but exactly where they were.

After MultiAugs (arXiv 2402.11566, section 3): several strong augmentations of the same image in one step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.augmentation.colour import jitter_colour
from datasets.augmentation.transforms import Augmentation, random_placement
from sia.io.letterbox import Matrix, warp_image
from sia.skeletons.skeleton import Skeleton

_WEAK = Augmentation(flip=0.5, scale=(0.8, 1.25), shift=0.05, rotation=0.0, colour=0.0, mosaic=0.0)
_STRONG = Augmentation(flip=0.5, scale=(0.7, 1.4), shift=0.1, rotation=60.0, colour=0.0, mosaic=0.0)
_COLOUR = 1.5
"""Strength of the colour changes; labelled images get at most 1."""


def strong_view(
    image: NDArray[np.uint8], augmentation: str, size: tuple[int, int], skeleton: Skeleton, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Matrix]:
    """What the student sees.

    Args:
        image: (h, w, 3) uint8, RGB, the whole image.
        augmentation: of `utils.config.train_config.AUGMENTATIONS`. ``geometry`` turns, scales and crops;
            ``appearance`` changes colours, blurs and compresses; ``occlusion`` hides joints, which
            `datasets.augmentation.occlusion` does once the teacher has said where.
        size: H, W of the result.
        skeleton: whether views may be mirrored.
        rng: source of all draws.

    Returns:
        (H, W, 3) uint8, and the matrix from the image's pixels to it.
    """
    placement = (_STRONG if augmentation == "geometry" else _WEAK).of(skeleton)
    matrix = random_placement((image.shape[0], image.shape[1]), size, size, placement, rng, zoom=1.0)
    view = warp_image(image, matrix, size)
    return jitter_colour(view, rng, _COLOUR if augmentation == "appearance" else 0.0), matrix
