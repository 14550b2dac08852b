"""Hides joints of people, by grey squares and by body parts of other people; the labels stay where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.labels import Labels
from sia.runtimes.letterbox import FILL

MOST_HIDDEN = 0.4
"""Largest fraction of a person's labelled joints that is hidden, but at least one joint."""
SIDES = (0.15, 0.4)
"""Range of a square's side, relative to the square root of the person's area."""
PASTED = 0.5
"""Fraction of the hidden joints that another joint is pasted on; the others are cut out."""

Images = NDArray[np.uint8]


class Square(NamedTuple):
    """Whole pixels of one image: from `left`, `top` on, `side` pixels each way."""

    image: int
    left: int
    top: int
    side: int


def hide_joints(images: Images, labels: Sequence[Labels], rng: np.random.Generator) -> None:
    """Changes the images in place (JC and JO of MultiAugs, arXiv 2402.11566, section 3.2).

    A pasted part is a square around a labelled joint of anyone in these images, as it was before; so nobody is added
    who would have to be labelled.

    Args:
        images: (N, 3, H, W) uint8.
        labels: of each, in its pixels.
        rng: source of all draws.
    """
    before, size = images.copy(), images.shape[-2:]
    joints = [(n, xy) for n, label in enumerate(labels) for xy in label.keypoints[label.keypoints[..., 2] > 0][:, :2]]
    for target in _chosen(labels, size, rng):
        paste = rng.random() < PASTED
        number, centre = joints[int(rng.integers(len(joints)))]
        source = _square(number, centre, target.side, size)
        _pixels(images, target)[...] = _pixels(before, source) if paste and source is not None else FILL


def _chosen(labels: Sequence[Labels], size: tuple[int, ...], rng: np.random.Generator) -> list[Square]:
    """The squares to hide."""
    squares = []
    for number, label in enumerate(labels):
        for points, area in zip(label.keypoints, label.areas, strict=True):
            seen = points[points[:, 2] > 0][:, :2]
            count = int(rng.integers(1, max(1, int(MOST_HIDDEN * len(seen))) + 1)) if len(seen) else 0
            sides = rng.uniform(*SIDES, count) * float(area) ** 0.5
            centres = rng.permutation(seen)[:count]
            squares += [_square(number, xy, round(side), size) for xy, side in zip(centres, sides, strict=True)]
    return [square for square in squares if square is not None]


def _square(image: int, centre: NDArray[np.float32], side: int, size: tuple[int, ...]) -> Square | None:
    """The square about a point, moved into the image; None where it doesn't fit, or is empty."""
    height, width = size
    if not 0 < side <= min(height, width):
        return None
    left, top = (round(float(value) - side / 2) for value in centre)
    return Square(image, min(max(left, 0), width - side), min(max(top, 0), height - side), side)


def _pixels(images: Images, square: Square) -> Images:
    """(3, side, side), a view."""
    number, left, top, side = square
    return images[number, :, top : top + side, left : left + side]
