"""What the parts of the prior stage share: the people at hand, what the priors say of them, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from sia.evaluation.labels import LabelledPeople, Mask, Rows, match_labels, qualities
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import Skeleton
from stages.prior.kinematics import KinematicLimits
from stages.prior.training import PriorOutput, TrainedPrior


@dataclass(frozen=True)
class PriorContext:
    """N predicted people and everything that judges them.

    Attributes:
        people: the predictions.
        excluded: (N,) the prior that must not be asked about a person, because errors of the person's image were
            measured for it; -1 for none.
        priors: they are averaged.
        kinematic_limits: limits of bones and angles.
        skeleton: of all.
    """

    people: Predictions
    excluded: Rows
    priors: Sequence[TrainedPrior]
    kinematic_limits: KinematicLimits
    skeleton: Skeleton

    def advise(self, people: Predictions) -> PriorOutput:
        """What the priors say of the people, or of another version of them, row by row."""
        parts = [prior.denoise(people.boxes, people.keypoints, people.confidences) for prior in self.priors]
        weights = np.stack([self.excluded != number for number in range(len(parts))]).astype(np.float64)
        return PriorOutput.mean(parts, weights)

    @cached_property
    def advice(self) -> PriorOutput:
        """What the priors say of the people as they are."""
        return self.advise(self.people)

    @cached_property
    def broken(self) -> Array:
        """(N,) how many limits of anatomy the people break."""
        return np.asarray(
            self.kinematic_limits.broken(self.people.keypoints, self.people.boxes).sum(1), dtype=np.float64
        )

    def worse(self, people: Predictions) -> Mask:
        """(N,) whether another version of the people breaks more of them."""
        return np.asarray(self.kinematic_limits.broken(people.keypoints, people.boxes).sum(1) > self.broken)


@dataclass(frozen=True)
class MatchedLabels:
    """Labels of the predicted people.

    Attributes:
        labels: of the images.
        found: (N,) row of the labelled person, -1 for none.
        sigmas: (K,) of the skeleton.
    """

    labels: LabelledPeople
    found: Rows
    sigmas: tuple[float, ...]

    @classmethod
    def of(cls, people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> MatchedLabels:
        """Matches once; later versions of the people keep their labels."""
        return cls(labels, match_labels(people, labels, skeleton.sigmas), skeleton.sigmas)

    @property
    def matched(self) -> Mask:
        """(N,) bool."""
        return np.asarray(self.found >= 0)

    def terms(self, people: Predictions) -> Array:
        """(N, K) each keypoint's term of OKS; NaN where nothing is labelled or nobody is found."""
        labels = self.labels.select(self.found)
        distances = np.linalg.norm(people.keypoints - labels.keypoints, axis=-1)
        terms = oks_terms(distances, labels.areas, np.asarray(self.sigmas))
        return np.where(labels.labelled & self.matched[:, None], terms, np.nan)

    def oks(self, people: Predictions) -> Array:
        """(N,) OKS; 0 where nobody is found."""
        terms = self.terms(people)
        return np.asarray(np.nansum(terms, axis=1) / np.isfinite(terms).sum(1).clip(min=1))

    def qualities(self, people: Predictions) -> Array:
        """(N,) `sia.evaluation.labels.qualities`."""
        return qualities(people, self.labels, self.sigmas)


class Part(Protocol):
    """One way to make predictions better: it looks at a scene when it is made, is fitted on some rows, and applied."""

    name: str
    scene: PriorContext

    def __init__(self, scene: PriorContext) -> None: ...

    def fit(self, truth: MatchedLabels, rows: Mask) -> Any:
        """What to choose by the rows under the mask."""

    def apply(self, fitted: Any) -> Predictions:
        """The whole scene, changed."""

    def describe(self, fitted: Any) -> dict[str, Any]:
        """What was chosen, for the report: plain types."""


def cross_fitted(part: Part, truth: MatchedLabels, folds: Rows) -> Predictions:
    """Each fold changed by what was fitted on the others: people as they would be in images never seen.

    Args:
        part: made for a scene of N people.
        truth: their labels.
        folds: (N,) number of each person's fold.
    """
    result = part.scene.people
    for fold in np.unique(folds):
        here = folds == fold
        result = choose(here, part.apply(part.fit(truth, ~here)), result)
    return result


def choose(mask: Mask, first: Predictions, second: Predictions) -> Predictions:
    """Rows of `first` under the mask, of `second` elsewhere."""

    def pick(name: str) -> Any:
        a, b = getattr(first, name), getattr(second, name)
        return np.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return Predictions(*(pick(name) for name in vars(first)))


SURE = 2.0
"""Standard errors by which a choice has to be better than doing nothing: the best of several always looks good."""


def best_choice(choices: Sequence[Any], gains: Callable[[Any], Array], nothing: Any) -> Any:
    """The choice with the greatest mean gain, if that is surely above none."""
    best, chosen = 0.0, nothing
    for choice in choices:
        gain = gains(choice)
        if len(gain) > 1 and gain.mean() > max(best, SURE * gain.std(ddof=1) / np.sqrt(len(gain))):
            best, chosen = float(gain.mean()), choice
    return chosen
