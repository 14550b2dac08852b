"""One set of people from those of several members: grouped, their keypoints fused by precision, their scores learned.

M: members, G: people after grouping, K: keypoints. Members come with calibrated scores and with variances
(`stages.error_model.calibration`); coordinates are pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sia.evaluation.labels import LabelledPeople, box_overlaps, qualities
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.members import MOST
from stages.error_model.calibration import VarianceModel, error_correlation, units_of

FAR = 9.0
"""Squared distance, in variances of the difference, beyond which two keypoints are not the same place (3 sigma)."""

SWAP = 0.5
"""A member's left and right trade places where that lowers their squared distances to less than this share."""

ABSENT = -1

LIKENESS = 0.45
"""From which mean of OKS and box IoU two members mean the same person; 0.3 to 0.6 gave the same AP."""

RIDGE = 10.0
FEATURES = 8
USUAL = np.eye(FEATURES)[5]
"""The score where nothing is learned: the mean of the members' scores, times the fraction of members who agree."""

DECAY = 0.5
"""Width of the soft suppression; from 0.15 to 0.5, AP rose on photographs, and 2 was worse."""


def group_people(members: Sequence[Predictions], skeleton: Skeleton) -> NDArray[np.int64]:
    """Who is whom, in one image: the best person left starts a group, and each other member adds its nearest one.

    Args:
        members: M predictions of one image.
        skeleton: sigmas.

    Returns:
        (G, M) rows of the members, `ABSENT` where a member has nobody; the best start first.
    """
    counts = [len(people) for people in members]
    owners, rows = np.repeat(np.arange(len(members)), counts), np.concatenate([np.arange(n) for n in counts])
    scores = np.concatenate([people.scores for people in members])
    alike = _likeness(members, skeleton)
    free, groups = np.ones(len(scores), dtype=bool), []
    for start in np.argsort(-scores, kind="stable"):
        if not free[start]:
            continue
        group = np.full(len(members), ABSENT)
        for m in range(len(members)):
            mine = np.where(free & (owners == m), alike[start], -1.0)
            mine[start] = np.inf if m == owners[start] else -1.0
            best = int(mine.argmax())
            if mine[best] >= LIKENESS:
                group[m], free[best] = rows[best], False
        groups.append(group)
    return np.array(groups, dtype=np.int64).reshape(-1, len(members))


def _likeness(members: Sequence[Predictions], skeleton: Skeleton) -> Array:
    """(P, P) mean of OKS, in the area of the row's person, and box IoU of all P people."""
    boxes = np.concatenate([people.boxes for people in members])
    points = np.concatenate([people.keypoints for people in members])
    return (person_similarity(points, boxes, skeleton) + box_overlaps(boxes, boxes)) / 2


def person_similarity(points: Array, boxes: Array, skeleton: Skeleton) -> Array:
    """(P, P) OKS of each person with each, in the unit of the row's box."""
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-squares / (2 * units_of(boxes, skeleton)[:, None] ** 2)).mean(-1))


def fuse_keypoints(
    points: Array, variances: Array, correlation: Array, skeleton: Skeleton
) -> tuple[Array, Array, Array]:
    """Precision-weighted means of the members that agree, with their errors' correlation (generalised least squares).

    With uncorrelated errors the weights are inverse variances. Before, members whose left and right are exchanged are
    put right, and those too far from the rest are left out.

    Args:
        points: (G, M, K, 2); anything where a member is absent.
        variances: (G, M, K) per axis; infinite where a member is absent.
        correlation: (M, M) of the members' errors.
        skeleton: which keypoints are left and right.

    Returns:
        (G, K, 2) points, (G, K) variances, and (G, K) the fraction of the members present that agree.
    """
    present = np.isfinite(variances)
    points, variances = _unswapped(np.where(present[..., None], points, 0.0), variances, skeleton)
    agree = _agreeing(points, variances)
    weights = _weights(np.moveaxis(agree, 1, -1), np.moveaxis(np.where(agree, variances, 1.0), 1, -1), correlation)
    fused = np.einsum("gkm,gmkc->gkc", weights, points)
    scale = np.sqrt(np.moveaxis(np.where(agree, variances, 0.0), 1, -1))
    spread = np.einsum("gkm,mn,gkn->gk", weights * scale, correlation, weights * scale)
    return fused, spread, agree.sum(1) / present.sum(1).clip(min=1)


def _distances(points: Array, others: Array, variances: Array, other_variances: Array) -> Array:
    """(G, M, M, K) squared distances in variances of the difference, at most `FAR`; `FAR` where one is absent."""
    squares = ((points[:, :, None] - others[:, None]) ** 2).sum(-1)
    total = variances[:, :, None] + other_variances[:, None]
    return np.asarray(np.where(np.isfinite(total), np.minimum(squares / total, FAR), FAR))


def _medoid(costs: Array, variances: Array) -> NDArray[np.intp]:
    """(G, K) the member that the others, weighted by precision, are nearest to; of two, the more precise one."""
    precision = np.where(np.isfinite(variances), 1 / variances, 0.0)
    totals = np.einsum("gmnk,gnk->gmk", costs, precision)
    return np.asarray(np.where(np.isfinite(variances), totals, np.inf).argmin(1))


def _unswapped(points: Array, variances: Array, skeleton: Skeleton) -> tuple[Array, Array]:
    """Exchanges left and right of a member where that brings both near the member most others agree with."""
    order = skeleton.flip_order
    mirrored, mirrored_variances = points[:, :, order], variances[:, :, order]
    keep = _distances(points, points, variances, variances)
    swap = _distances(points, mirrored, variances, mirrored_variances)
    pair = (keep + keep[..., order], swap + swap[..., order])
    together = variances + variances[:, :, order]
    trusted = _medoid(pair[0], together)[:, None, None]
    kept, swapped = (np.take_along_axis(part, trusted, axis=1)[:, 0] for part in pair)
    change = (swapped < SWAP * kept) & (kept > FAR) & np.isfinite(together)
    return np.where(change[..., None], mirrored, points), np.where(change, mirrored_variances, variances)


def _agreeing(points: Array, variances: Array) -> NDArray[np.bool_]:
    """(G, M, K) members within 3 sigma of the medoid."""
    costs = _distances(points, points, variances, variances)
    trusted = _medoid(costs, variances)
    near = np.take_along_axis(costs, trusted[:, None, None], axis=1)[:, 0] < FAR
    own = np.arange(points.shape[1])[None, :, None] == trusted[:, None]
    return np.asarray((near | own) & np.isfinite(variances))


def _weights(agree: NDArray[np.bool_], variances: Array, correlation: Array) -> Array:
    """(G, K, M) weights of least variance, none negative, that sum to 1; 0 for those left out."""
    scale = np.where(agree, np.sqrt(variances), 0.0)
    covariance = correlation * scale[..., :, None] * scale[..., None, :]
    # Those left out get a row of their own, with nothing on the right side: their weight is 0.
    covariance += np.eye(len(correlation)) * ~agree[..., None]
    raw = np.linalg.solve(covariance, agree[..., None].astype(np.float64))[..., 0].clip(min=0)
    return np.asarray(raw / raw.sum(-1, keepdims=True).clip(min=1e-12))


def soft_suppression(scores: Array, similarity: Array, decay: float) -> Array:
    """Lower scores for those who are like somebody better: times exp(-OKS^2 / decay) for each of them.

    Bodla et al., Soft-NMS, ICCV 2017, with OKS in place of IoU.

    Args:
        scores: (N,).
        similarity: (N, N) OKS.
        decay: 0 changes nothing.
    """
    lowered, left = scores.astype(np.float64), np.ones(len(scores), dtype=bool)
    for _ in range(len(scores) if decay > 0 else 0):
        best = int(np.where(left, lowered, -np.inf).argmax())
        left[best] = False
        lowered = np.where(left, lowered * np.exp(-(similarity[best] ** 2) / max(decay, 1e-9)), lowered)
    return lowered


@dataclass(frozen=True)
class FusionModel:
    """M calibrated members in, one set of people out.

    Attributes:
        correlation: (M, M) of the members' errors.
        scorer: (F,) linear weights of a person's score.
        precision: variance model of the fused keypoints.
        decay: width of the soft suppression.
    """

    correlation: Array
    scorer: Array
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

    def fuse(self, members: Sequence[Predictions], skeleton: Skeleton) -> tuple[Predictions, Array]:
        """(N) fused people before the last calibration, and (N, 4) features of each."""
        image_ids = np.unique(np.concatenate([people.image_ids for people in members]))
        parts = [
            self._fuse_image(int(image_id), [people.of_image(int(image_id)) for people in members], skeleton)
            for image_id in image_ids
        ]
        if not parts:
            return members[0], np.zeros((0, 4))
        return Predictions.join([people for people, _ in parts]), np.concatenate([features for _, features in parts])

    def _fuse_image(self, image_id: int, members: list[Predictions], skeleton: Skeleton) -> tuple[Predictions, Array]:
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


def _gather(members: list[Predictions], groups: NDArray[np.int64], name: str, empty: float) -> Array:
    """(G, M, ...) the member's column `name` of each group; `empty` where a member is absent."""
    columns = []
    for m, people in enumerate(members):
        column = np.asarray(getattr(people, name), np.float64)
        padded = np.concatenate([column, np.full((1, *column.shape[1:]), empty)])
        columns.append(padded[groups[:, m]])  # the last row stands for nobody
    return np.stack(columns, axis=1)


def _closeness(people: Predictions, skeleton: Skeleton) -> Array:
    """(N, K) the expected term of OKS of each keypoint, with Gaussian errors of these variances."""
    return np.asarray(1 / (1 + people.variances / units_of(people.boxes, skeleton) ** 2))


def _table(people: Predictions, features: Array, skeleton: Skeleton) -> Array:
    """(N, F) what the score is made of."""
    close = _closeness(people, skeleton).mean(-1, keepdims=True)
    mean, share = features[:, :1], features[:, 1:2]
    columns = [features, close, mean * share, mean * close, np.ones_like(close)]
    return np.concatenate(columns, axis=1)


def _ridge(table: Array, target: Array) -> Array:
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
