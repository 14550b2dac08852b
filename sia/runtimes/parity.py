"""How far the people that two runtimes find in the same images are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sia.io.optional import need
from sia.people import People
from sia.runtimes.predictor import Predictor

Floats = NDArray[np.float64]

NEAR = 0.1
"""Two people are the same where their keypoints are on average apart by less than this fraction of the longer side."""

CLOSE = 0.1
"""Most pixels between a keypoint's two places that count as the same."""

SURE = 0.1
"""Score from which on a person has to be found by both: of doubtful candidates, rounding decides which are returned."""


@dataclass(frozen=True)
class Parity:
    """What was found to differ.

    Attributes:
        images: how many were compared.
        people: how many people the reference found; all scores.
        matched: how many of them the other found as well.
        missed: how many of the rest have a score of `SURE` or more.
        largest: greatest distance between two keypoints of matched people, in pixels of the image.
        median: of these distances.
        moved: fraction of these distances above `CLOSE`.
        score: greatest difference between two scores of matched people.
    """

    images: int
    people: int
    matched: int
    missed: int
    largest: float
    median: float
    moved: float
    score: float

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.people} people of {self.images} images found by both; keypoints apart by "
            f"{self.median:.2g} pixels (median), {self.largest:.2g} (largest), more than {CLOSE} in "
            f"{100 * self.moved:.2g} %; scores by {self.score:.2g} (largest)"
        )


def compare(reference: Predictor, other: Predictor, images: Iterable[NDArray[np.uint8]]) -> Parity:
    """Runs both on every image, one at a time."""
    distances: list[Floats] = [np.zeros(0)]
    scores: list[Floats] = [np.zeros(0)]
    count = people = matched = missed = 0
    for image in images:
        first, second = reference.predict([image])[0], other.predict([image])[0]
        rows, columns = match(first, second)
        distances.append(_distances(first, second)[rows, columns].ravel())
        scores.append(np.abs(first.scores[rows] - second.scores[columns]).astype(np.float64))
        count, people, matched = count + 1, people + len(first), matched + len(rows)
        missed += int((np.delete(first.scores, rows) >= SURE).sum())
    return Parity(count, people, matched, missed, *_summary(distances), float(np.concatenate(scores).max(initial=0.0)))


def _summary(distances: Sequence[Floats]) -> tuple[float, float, float]:
    every = np.concatenate(distances)
    if not len(every):
        return 0.0, 0.0, 0.0
    return float(every.max()), float(np.median(every)), float((every > CLOSE).mean())


def match(first: People, second: People) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of `first` is which of `second`: the pairs that are nearest in sum, without those that are not near."""
    need("scipy", "Comparing two models")
    from scipy.optimize import linear_sum_assignment

    cost = _distances(first, second).mean(-1)
    rows, columns = linear_sum_assignment(cost)
    sides = (first.boxes[:, 2:] - first.boxes[:, :2]).max(-1, initial=0.0)
    near = cost[rows, columns] <= np.maximum(NEAR * sides[rows], 1.0)  # boxes are clipped, down to nothing
    return rows[near], columns[near]


def _distances(first: People, second: People) -> Floats:
    """(N, M, K)."""
    apart = first.keypoints[:, None].astype(np.float64) - second.keypoints[None]
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]))
