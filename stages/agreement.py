"""How far the people that two runtimes find in the same pictures are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stages.predictor import Predictor
from utils.structures import People

Floats = NDArray[np.float64]

NEAR = 0.1
"""Two people are the same where their keypoints are on average apart by less than this share of the longer side."""

TIE = 0.01
"""Of candidates whose scores are as near as this, rounding alone decides which one is returned."""


@dataclass(frozen=True)
class Agreement:
    """What was found to differ.

    Attributes:
        pictures: how many were compared.
        people: how many people the reference found; all scores.
        matched: how many of them the other found as well.
        missed: how many of the rest are missing for another reason than a tie of scores at the end of both lists.
        largest: greatest distance between two keypoints of matched people, in pixels of the picture.
        median: of these distances.
        score: greatest difference between two scores of matched people.
    """

    pictures: int
    people: int
    matched: int
    missed: int
    largest: float
    median: float
    score: float

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.people} people of {self.pictures} pictures found by both; keypoints apart by "
            f"{self.median:.2g} pixels (median), {self.largest:.2g} (largest); scores by {self.score:.2g} (largest)"
        )


def compare(reference: Predictor, other: Predictor, pictures: Iterable[NDArray[np.uint8]]) -> Agreement:
    """Runs both on every picture, one at a time."""
    distances: list[Floats] = [np.zeros(0)]
    scores: list[Floats] = [np.zeros(0)]
    count = people = matched = missed = 0
    for picture in pictures:
        first, second = reference.predict([picture])[0], other.predict([picture])[0]
        rows, columns = match(first, second)
        distances.append(_distances(first, second)[rows, columns].ravel())
        scores.append(np.abs(first.scores[rows] - second.scores[columns]).astype(np.float64))
        count, people, matched = count + 1, people + len(first), matched + len(rows)
        missed += _missed(first, rows, second)
    return Agreement(
        count, people, matched, missed, *_summary(distances), float(np.concatenate(scores).max(initial=0.0))
    )


def _missed(reference: People, matched: NDArray[np.intp], other: People) -> int:
    """Those at the end of a list may have lost their place to others of the same score; nobody else may have."""
    rest, lowest = np.delete(reference.scores, matched), float(reference.scores.min(initial=1.0))
    same_end = abs(float(other.scores.min(initial=1.0)) - lowest) <= TIE
    return int((rest > lowest + TIE).sum()) if len(other) == len(reference) and same_end else len(rest)


def _summary(distances: Sequence[Floats]) -> tuple[float, float]:
    every = np.concatenate(distances)
    return float(every.max(initial=0.0)), float(np.median(every)) if len(every) else 0.0


def match(first: People, second: People) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of `first` is which of `second`: the pairs that are nearest in sum, without those that are not near."""
    cost = _distances(first, second).mean(-1)
    rows, columns = linear_sum_assignment(cost)
    sides = (first.boxes[:, 2:] - first.boxes[:, :2]).max(-1, initial=0.0)
    near = cost[rows, columns] <= np.maximum(NEAR * sides[rows], 1.0)  # boxes are clipped, down to nothing
    return rows[near], columns[near]


def _distances(first: People, second: People) -> Floats:
    """(N, M, K)."""
    apart = first.keypoints[:, None].astype(np.float64) - second.keypoints[None]
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]))
