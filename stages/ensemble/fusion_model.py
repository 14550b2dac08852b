"""The fitted fusion of an ensemble: calibrated on labelled images, then applied to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sia.evaluation.labels import LabelledPeople, qualities
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.fusion import ABSENT, fuse_keypoints, group_people, person_similarity, soft_suppression
from stages.ensemble.members import MOST
from stages.error_model.calibration import VarianceModel, error_correlation, units_of

Floats = NDArray[np.float64]

RIDGE = 10.0
FEATURES = 8
USUAL = np.eye(FEATURES)[5]
"""The score where nothing is learned: the mean of the members' scores, times the fraction of members who agree."""

DECAY = 0.5
"""Width of the soft suppression; from 0.15 to 0.5, AP rose on photographs, and 2 was worse."""


@dataclass(frozen=True)
class FusionModel:
    """M calibrated members in, one set of people out.

    Attributes:
        correlation: (M, M) of the members' errors.
        scorer: (F,) linear weights of a person's score.
        precision: variance model of the fused keypoints.
        decay: width of the soft suppression.
    """

    correlation: Floats
    scorer: Floats
    precision: VarianceModel
    decay: float = DECAY

    @classmethod
    def fit(cls, members: Sequence[Predictions], labels: LabelledPeople, skeleton: Skeleton) -> FusionModel:
        """Measures how the members err together, and what the fused people are worth.

        Args:
            members: calibrated predictions of the labelled images, by models that were not trained on these.
            labels: of these images.
            skeleton: of all.
        """
        correlation = error_correlation(members, labels, skeleton)
        start = cls(correlation, np.zeros(FEATURES), VarianceModel(np.zeros(skeleton.num_keypoints + 3)))
        fused, features = start.fuse(members, skeleton)
        precision = VarianceModel.fit(fused, labels, skeleton)
        table = _table(precision.apply(fused, skeleton), features, skeleton)
        target = qualities(replace(fused, scores=table.mean(-1)), labels, skeleton.sigmas)
        return replace(start, precision=precision, scorer=_ridge(table, target))

    def apply(self, members: Sequence[Predictions], skeleton: Skeleton) -> Predictions:
        """Fused people with new scores, confidences and variances; at most `MOST` an image, best first."""
        fused, features = self.fuse(members, skeleton)
        people = self.precision.apply(fused, skeleton)
        scores = (_table(people, features, skeleton) @ self.scorer).clip(0, 1)
        people = replace(people, scores=scores, confidences=_closeness(people, skeleton))
        return suppress(people, skeleton, self.decay)

    def fuse(self, members: Sequence[Predictions], skeleton: Skeleton) -> tuple[Predictions, Floats]:
        """(N) fused people before the last calibration, and (N, 4) features of each."""
        image_ids = np.unique(np.concatenate([people.image_ids for people in members]))
        parts = [
            self._fuse_image(int(image_id), [people.of_image(int(image_id)) for people in members], skeleton)
            for image_id in image_ids
        ]
        if not parts:
            return members[0], np.zeros((0, 4))
        return Predictions.join([people for people, _ in parts]), np.concatenate([features for _, features in parts])

    def _fuse_image(self, image_id: int, members: list[Predictions], skeleton: Skeleton) -> tuple[Predictions, Floats]:
        groups = group_people(members, skeleton)
        found = groups != ABSENT
        boxes, scores, points, variances = (
            _gather(members, groups, name, empty)
            for name, empty in (("boxes", 0.0), ("scores", 0.0), ("keypoints", 0.0), ("variances", np.inf))
        )
        weights = scores + 1e-6 * found
        box = (boxes * weights[..., None]).sum(1) / weights.sum(1)[:, None]
        fused, spread, agree = fuse_keypoints(points, variances, self.correlation, skeleton)
        share = found.mean(1)
        features = np.stack([scores.sum(1) / found.sum(1), share, scores.max(1), agree.mean(1)], axis=-1)
        return Predictions(
            np.full(len(groups), image_id, np.int64), box, scores.max(1), fused, np.full(spread.shape, 0.5), spread
        ), features


def _gather(members: list[Predictions], groups: NDArray[np.int64], name: str, empty: float) -> Floats:
    """(G, M, ...) the member's column `name` of each group; `empty` where a member is absent."""
    columns = []
    for m, people in enumerate(members):
        column = np.asarray(getattr(people, name), np.float64)
        padded = np.concatenate([column, np.full((1, *column.shape[1:]), empty)])
        columns.append(padded[groups[:, m]])  # the last row stands for nobody
    return np.stack(columns, axis=1)


def _closeness(people: Predictions, skeleton: Skeleton) -> Floats:
    """(N, K) the expected term of OKS of each keypoint, with Gaussian errors of these variances."""
    return np.asarray(1 / (1 + people.variances / units_of(people.boxes, skeleton) ** 2))


def _table(people: Predictions, features: Floats, skeleton: Skeleton) -> Floats:
    """(N, F) what the score is made of."""
    close = _closeness(people, skeleton).mean(-1, keepdims=True)
    mean, share = features[:, :1], features[:, 1:2]
    columns = [features, close, mean * share, mean * close, np.ones_like(close)]
    return np.concatenate(columns, axis=1)


def _ridge(table: Floats, target: Floats) -> Floats:
    """(F,) least squares, drawn towards `USUAL`."""
    information = table.T @ table + RIDGE * np.eye(FEATURES)
    return np.asarray(USUAL + np.linalg.solve(information, table.T @ (target - table @ USUAL)))


def suppress(people: Predictions, skeleton: Skeleton, decay: float) -> Predictions:
    """Softly suppressed, the best `MOST` of each image, best first."""
    parts = []
    for image_id in np.unique(people.image_ids):
        group = people.of_image(int(image_id))
        similarity = person_similarity(group.keypoints, group.boxes, skeleton)
        scores = soft_suppression(group.scores, similarity, decay)
        best = np.argsort(-scores, kind="stable")[:MOST]
        parts.append(replace(group, scores=scores).select(best))
    return Predictions.join(parts) if parts else people
