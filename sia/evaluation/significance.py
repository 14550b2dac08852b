"""Whether a stage helps: a paired bootstrap over the images of ``test``.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: percentile intervals. Images are resampled,
not people, as the people of one image are alike, and the frames of a video together; and each resample is scored before
and after the stage, so that what makes images hard cancels out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sia.errors import DataError
from sia.evaluation.matches import Floats, Matches
from sia.io.stored import Finite

RESAMPLES = 2000
LEVEL = 0.95
FEWEST_GROUPS = 6
"""Of fewer groups, as of one video alone, an interval can't be drawn: each image is taken by itself."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % bootstrap interval, as fractions."""

    value: Finite
    low: Finite
    high: Finite

    @property
    def is_gain(self) -> bool:
        """Whether even the lower bound is above 0."""
        return self.low > 0

    def percent(self, sign: bool = False) -> str:
        """Such as ``12.3 [10.1, 14.5]``."""
        rounded = (round(100 * number, 1) for number in (self.value, self.low, self.high))
        value, low, high = (f"{n:{'+' if sign else ''}.1f}" if n else "0.0" for n in rounded)  # never -0.0
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Proof:
    """AP of the same images before and after a stage.

    Attributes:
        before, after: AP.
        difference: after - before, paired.
        images: number of images.
        changed: whether any resample differs: whether there is something to decide at all.
    """

    before: Interval
    after: Interval
    difference: Interval
    images: int
    changed: bool


def prove(
    before: Matches, after: Matches, seed: int, groups: Mapping[int, int] | None = None, resamples: int = RESAMPLES
) -> Proof:
    """Scores both on the same resamples.

    Args:
        before: of results without the stage.
        after: of results with it, of the same images.
        seed: of the resamples.
        groups: of each image id: images of one group, as the frames of a video, are drawn together; None: each alone.
        resamples: how many.

    Raises:
        DataError: they are of different images.
    """
    if not np.array_equal(before.image_ids, after.image_ids):
        raise DataError("The two results are of different images, so they can't be compared.")
    weights = _draw(before, seed, groups, resamples)
    first, second = before.average_precision(weights), after.average_precision(weights)
    difference = second - first
    changed = bool(np.nanmax(abs(difference)) > 0)
    return Proof(_interval(first), _interval(second), _interval(difference), len(before.image_ids), changed)


def measure(
    matches: Matches, seed: int, groups: Mapping[int, int] | None = None, resamples: int = RESAMPLES
) -> Interval:
    """AP of one results file; arguments as of `prove`."""
    return _interval(matches.average_precision(_draw(matches, seed, groups, resamples)))


def _draw(matches: Matches, seed: int, groups: Mapping[int, int] | None, resamples: int) -> Any:
    """(1 + B, I): each image once, then how often it is in each resample of as many draws as there are groups."""
    ids = matches.image_ids.tolist()
    owners = np.unique([groups[image] for image in ids], return_inverse=True)[1] if groups else np.arange(len(ids))
    if len(ids) and owners.max() + 1 < FEWEST_GROUPS:
        owners = np.arange(len(ids))
    count = int(owners.max()) + 1 if len(ids) else 0
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / max(count, 1)), size=resamples)[:, owners]
    return np.concatenate([np.ones((1, len(ids)), np.int64), drawn])


def _interval(values: Floats) -> Interval:
    """Of the figure itself, which comes first, and those of the resamples; those without people tell nothing."""
    low, high = np.nanquantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))
