"""The kinds of error as a mixture, whose rates come from expectation maximisation (Dempster, Laird & Rubin, 1977).

M: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.evaluation.labels import LabelledPeople
from sia.evaluation.predictions import Array
from sia.skeletons.skeleton import Skeleton
from stages.error_model.statistics import nearest_correlation

ROUNDS = 60
"""Of expectation maximisation; rates change in the fourth digit afterwards."""

PRIOR_COUNT = 5.0
"""How many people's worth of the mean over all keypoints each keypoint's rates and spreads start from."""

NEAR, INVERTED, SWAPPED, MISSED = range(4)


class Distances(NamedTuple):
    """(M, K) squared distances in units from the predicted to the own keypoint, its counterpart, the rival's; NaN where
    there is none.
    """

    own: Array
    counterpart: Array
    rival: Array
    paired: NDArray[np.bool_]  # (K,)


class Mixture(NamedTuple):
    """What was fitted.

    Attributes:
        rates: (K, 4) of near, inverted, swapped, missed.
        spread: (K,) of jitter, units.
        reach: (K,) of misses, units.
        turned: fraction of people.
        near: (M, K) probability that the error is jitter of a body the right way round.
    """

    rates: Array
    spread: Array
    reach: Array
    turned: float
    near: Array


def distances_of(points: Array, labels: LabelledPeople, units: Array, skeleton: Skeleton) -> Distances:
    """From predicted points (M, K, 2) and the labels of the same people, row by row; units (M, K) pixels."""
    order = skeleton.flip_order
    paired = np.array(order) != np.arange(len(order))
    own = np.where(labels.labelled[..., None], labels.keypoints, np.nan)
    counterpart = np.where(paired[:, None], own[:, order], np.nan)

    def squared(targets: Array) -> Array:
        return np.asarray((((points - targets) / units[..., None]) ** 2).sum(-1))

    return Distances(squared(own), squared(counterpart), squared(labels.rivals), paired)


def fit_mixture(d: Distances) -> Mixture:
    """Rates and spreads of the largest likelihood, drawn a little towards the mean of all keypoints."""
    known = np.isfinite(d.own)
    middle = np.array(
        [np.median(column[mask]) if mask.any() else 1.0 for column, mask in zip(d.own.T, known.T, strict=True)]
    )
    spread = np.sqrt(middle / 1.386).clip(min=1e-3)  # the median of r^2 is 2 log 2 of the variance
    reach, turned = 4 * spread, 0.02
    rates = np.tile([0.88, 0.03, 0.02, 0.07], (len(spread), 1))
    for _ in range(ROUNDS):
        straight, flipped, turn = _expect(d, rates, spread, reach, turned)
        share = straight * (1 - turn)[:, None, None] + flipped * turn[:, None, None]
        rates = _new_rates(share, d)
        spread, reach = _new_spreads(share, straight, flipped, turn, d)
        turned = float(np.nanmean(turn)) if len(turn) else 0.0
    return Mixture(rates, spread, reach, turned, straight[..., NEAR] * (1 - turn)[:, None])


def _expect(d: Distances, rates: Array, spread: Array, reach: Array, turned: float) -> tuple[Array, Array, Array]:
    """Responsibilities (M, K, 4) of the kinds, the body the right way round and turned, and (M,) of turning."""
    swapped_sides = Distances(
        np.where(d.paired & np.isfinite(d.counterpart), d.counterpart, d.own),
        np.where(d.paired & np.isfinite(d.counterpart), d.own, d.counterpart), d.rival, d.paired,
    )  # fmt: skip
    straight, flipped = (_densities(view, rates, spread, reach) for view in (d, swapped_sides))
    known = np.isfinite(d.own)
    logs = [np.where(known, np.log(view.sum(-1) + 1e-300), 0.0).sum(-1) for view in (straight, flipped)]
    odds = logs[1] - logs[0] + np.log(max(turned, 1e-6) / max(1 - turned, 1e-6))
    turn = 1 / (1 + np.exp(-odds.clip(-50, 50)))
    normalised = [
        np.where(known[..., None], view / (view.sum(-1, keepdims=True) + 1e-300), 0.0) for view in (straight, flipped)
    ]
    return normalised[0], normalised[1], turn


def _densities(d: Distances, rates: Array, spread: Array, reach: Array) -> Array:
    """(M, K, 4) rate times density of each kind; 0 for kinds that are impossible, whose rate goes to jitter."""

    def normal(squared: Array, width: Array) -> Array:
        return np.asarray(np.exp(-squared / (2 * width**2)) / (2 * np.pi * width**2))

    kinds = [normal(d.own, spread), normal(d.counterpart, spread), normal(d.rival, spread), normal(d.own, reach)]
    possible = np.stack([np.isfinite(kind) for kind in kinds], axis=-1)
    share = possible * rates
    share[..., NEAR] = 1 - share[..., NEAR + 1 :].sum(-1)
    return np.nan_to_num(np.stack(kinds, axis=-1)) * share


def _new_rates(share: Array, d: Distances) -> Array:
    """(K, 4) each kind's fraction of the people in whom it is possible, drawn towards the mean over the keypoints."""
    known = np.isfinite(d.own)
    chances = np.stack([known, known & np.isfinite(d.counterpart), known & np.isfinite(d.rival), known], axis=-1)
    counts, totals = (share * chances).sum(0), chances.sum(0)
    pooled = counts.sum(0) / np.maximum(totals.sum(0), 1)
    rates = (counts + PRIOR_COUNT * pooled) / (totals + PRIOR_COUNT)
    rates[~d.paired, INVERTED] = 0.0
    rates[:, NEAR] = 1 - rates[:, NEAR + 1 :].sum(-1)
    return np.asarray(rates)


def _new_spreads(share: Array, straight: Array, flipped: Array, turn: Array, d: Distances) -> tuple[Array, Array]:
    """Mean squared distance from what each kind aims at."""
    stay, other = (1 - turn)[:, None], turn[:, None]
    mirrored = np.where(d.paired & np.isfinite(d.counterpart), d.counterpart, d.own)
    near = [
        (straight[..., NEAR] * stay, d.own), (straight[..., INVERTED] * stay, d.counterpart),
        (flipped[..., NEAR] * other, mirrored), (flipped[..., INVERTED] * other, d.own),
        (share[..., SWAPPED], d.rival),
    ]  # fmt: skip
    far = [(straight[..., MISSED] * stay, d.own), (flipped[..., MISSED] * other, mirrored)]
    spread, reach = _width(near), _width(far)
    return spread, np.maximum(reach, 2 * spread)


def _width(parts: list[tuple[Array, Array]]) -> Array:
    weights = sum((weight * np.isfinite(squared)).sum(0) for weight, squared in parts)
    squares = sum((weight * np.nan_to_num(squared)).sum(0) for weight, squared in parts)
    pooled = np.sum(squares) / max(float(np.sum(weights)), 1e-9)
    return np.asarray(np.sqrt((squares + PRIOR_COUNT * pooled) / (weights + PRIOR_COUNT) / 2).clip(min=1e-3))


def jitter_correlation(standard: Array, near: Array) -> Array:
    """(K, K) from (M, K, 2) jitter in its own spread and (M, K) how surely it is jitter; positive definite."""
    values, weights = np.where(near[..., None] > 0, np.nan_to_num(standard), 0.0).clip(-4, 4), near
    products = np.einsum("mk,ml,mkc,mlc->kl", weights, weights, values, values) / 2
    totals = weights.T @ weights
    off = ~np.eye(near.shape[1], dtype=bool)
    pooled = float(products[off].sum() / max(totals[off].sum(), 1e-9))
    raw = (products + 4 * PRIOR_COUNT * pooled) / (totals + 4 * PRIOR_COUNT)
    np.fill_diagonal(raw, 1.0)
    return nearest_correlation(raw, floor=0.02)
