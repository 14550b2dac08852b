"""What a model gets wrong about poses: measured on predictions with labels, and drawn for others to learn from.

The kinds of error are those of Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation"
(ICCV 2017, section 3): jitter, inversion (the keypoint's left/right counterpart), swap (the same keypoint of another
person) and miss. They cut at fixed similarities, which makes a weak model's jitter look like misses and chance like
inversions; here the kinds are the components of a mixture, and its rates come from expectation maximisation (Dempster,
Laird & Rubin, 1977). So what is drawn is measured again, however large the errors are.

M: people, K: keypoints. A unit is the standard deviation of a keypoint's term of OKS, ``2 sigma sqrt(area)``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.pose_labels import LabelledPeople, match_labels
from utils.errors import DataError
from utils.predictions import Array, Predictions
from utils.skeleton import Skeleton

FEWEST_PEOPLE = 10
"""Matched people below which nothing can be said about errors."""

ROUNDS = 60
"""Of expectation maximisation; rates change in the fourth digit afterwards."""

PRIOR_COUNT = 5.0
"""How many people's worth of the mean over all keypoints each keypoint's rates and spreads start from."""

NEAR, INVERTED, SWAPPED, MISSED = range(4)


@dataclass(frozen=True)
class PoseErrors:
    """Errors of K keypoints.

    Attributes:
        people: how many were measured.
        spread: (K,) standard deviation of x, and of y, of jitter, in units.
        reach: (K,) the same of misses; at least twice the spread.
        inverted, swapped, missed: (K,) rates; where there is no counterpart or other person, jitter takes their place.
        turned: share of people with left and right exchanged as a whole.
        correlation: (K, K) of the keypoints' jitter within a person.
        confidence: (K, 3) a, b, s of ``logit(confidence) = a - b log(1 + d^2) + s e``, d the error in units.
        guess: (K, 2, 2) of keypoints that are not labelled: mean and standard deviation of x, and of y, relative to the
            predicted box, ``(keypoint - centre) / longer side``.
        guess_confidence: (K, 2) mean and standard deviation of their logit.
        box: (4, 2) mean and standard deviation of dx / width, dy / height, log width, log height.
    """

    people: int
    spread: Array
    reach: Array
    inverted: Array
    swapped: Array
    missed: Array
    turned: float
    correlation: Array
    confidence: Array
    guess: Array
    guess_confidence: Array
    box: Array

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }


class Drawn(NamedTuple):
    """M imagined predictions: boxes (M, 4), keypoints (M, K, 2), confidences (M, K), as in `Predictions`."""

    boxes: Array
    keypoints: Array
    confidences: Array


def measure_errors(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> PoseErrors:
    """Matches predictions with labels, by `match_labels`, and measures the errors of those found.

    Raises:
        DataError: too few are found.
    """
    found = match_labels(people, labels, skeleton.sigmas)
    return errors_of_pairs(people.map(lambda rows: rows[found >= 0]), labels.select(found[found >= 0]), skeleton)


def errors_of_pairs(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> PoseErrors:
    """Measures the errors of predictions whose labels are known: row by row.

    Raises:
        DataError: there are too few.
    """
    if len(people) < FEWEST_PEOPLE:
        raise DataError(
            f"Errors can't be measured: {len(people)} of the labelled people of the calibrate part are found, but "
            f"{FEWEST_PEOPLE} are needed. Train the model longer, or give more pictures."
        )
    units = labels.units(skeleton.sigmas)
    mixture = _fit_mixture(_distances(people.keypoints, labels, units, skeleton))
    errors = (people.keypoints - labels.keypoints) / units[..., None]
    line, guess_confidence = _measure_confidence(people.confidences, np.linalg.norm(errors, axis=-1), labels.labelled)
    return PoseErrors(
        people=len(people),
        spread=mixture.spread, reach=mixture.reach,
        inverted=mixture.rates[:, INVERTED], swapped=mixture.rates[:, SWAPPED], missed=mixture.rates[:, MISSED],
        turned=mixture.turned,
        correlation=_correlation(errors / mixture.spread[:, None], mixture.near),
        confidence=line, guess=_measure_guesses(people, labels.labelled), guess_confidence=guess_confidence,
        box=_measure_boxes(people.boxes, labels.boxes),
    )  # fmt: skip


# --- the mixture ----------------------------------------------------------------------------------------------------


class _Distances(NamedTuple):
    """(M, K) squared distances in units from the predicted to the own keypoint, its counterpart, the rival's; NaN where
    there is none.
    """

    own: Array
    counterpart: Array
    rival: Array
    paired: NDArray[np.bool_]  # (K,)


class _Mixture(NamedTuple):
    rates: Array  # (K, 4)
    spread: Array  # (K,)
    reach: Array  # (K,)
    turned: float
    near: Array  # (M, K) probability that the error is jitter of a body the right way round


def _distances(points: Array, labels: LabelledPeople, units: Array, skeleton: Skeleton) -> _Distances:
    order = skeleton.flip_order
    paired = np.array(order) != np.arange(len(order))
    own = np.where(labels.labelled[..., None], labels.keypoints, np.nan)
    counterpart = np.where(paired[:, None], own[:, order], np.nan)

    def squared(targets: Array) -> Array:
        return np.asarray((((points - targets) / units[..., None]) ** 2).sum(-1))

    return _Distances(squared(own), squared(counterpart), squared(labels.rivals), paired)


def _fit_mixture(d: _Distances) -> _Mixture:
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
    return _Mixture(rates, spread, reach, turned, straight[..., NEAR] * (1 - turn)[:, None])


def _expect(d: _Distances, rates: Array, spread: Array, reach: Array, turned: float) -> tuple[Array, Array, Array]:
    """Responsibilities (M, K, 4) of the kinds, the body the right way round and turned, and (M,) of turning."""
    swapped_sides = _Distances(
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


def _densities(d: _Distances, rates: Array, spread: Array, reach: Array) -> Array:
    """(M, K, 4) rate times density of each kind; 0 for kinds that are impossible, whose rate goes to jitter."""

    def normal(squared: Array, width: Array) -> Array:
        return np.asarray(np.exp(-squared / (2 * width**2)) / (2 * np.pi * width**2))

    kinds = [normal(d.own, spread), normal(d.counterpart, spread), normal(d.rival, spread), normal(d.own, reach)]
    possible = np.stack([np.isfinite(kind) for kind in kinds], axis=-1)
    share = possible * rates
    share[..., NEAR] = 1 - share[..., NEAR + 1 :].sum(-1)
    return np.nan_to_num(np.stack(kinds, axis=-1)) * share


def _new_rates(share: Array, d: _Distances) -> Array:
    """(K, 4) each kind's share of the people in whom it is possible, drawn towards the mean over the keypoints."""
    known = np.isfinite(d.own)
    chances = np.stack([known, known & np.isfinite(d.counterpart), known & np.isfinite(d.rival), known], axis=-1)
    counts, totals = (share * chances).sum(0), chances.sum(0)
    pooled = counts.sum(0) / np.maximum(totals.sum(0), 1)
    rates = (counts + PRIOR_COUNT * pooled) / (totals + PRIOR_COUNT)
    rates[~d.paired, INVERTED] = 0.0
    rates[:, NEAR] = 1 - rates[:, NEAR + 1 :].sum(-1)
    return np.asarray(rates)


def _new_spreads(share: Array, straight: Array, flipped: Array, turn: Array, d: _Distances) -> tuple[Array, Array]:
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


def _correlation(standard: Array, near: Array) -> Array:
    """(K, K) from (M, K, 2) jitter in its own spread and (M, K) how surely it is jitter; positive definite."""
    values, weights = np.where(near[..., None] > 0, np.nan_to_num(standard), 0.0).clip(-4, 4), near
    products = np.einsum("mk,ml,mkc,mlc->kl", weights, weights, values, values) / 2
    totals = weights.T @ weights
    off = ~np.eye(near.shape[1], dtype=bool)
    pooled = float(products[off].sum() / max(totals[off].sum(), 1e-9))
    raw = (products + 4 * PRIOR_COUNT * pooled) / (totals + 4 * PRIOR_COUNT)
    np.fill_diagonal(raw, 1.0)
    values, vectors = np.linalg.eigh(raw)
    mended = (vectors * values.clip(min=0.02)) @ vectors.T
    scale = np.sqrt(np.diag(mended))
    return np.asarray(mended / scale / scale[:, None])


# --- confidences, guesses, boxes ------------------------------------------------------------------------------------


def logit(confidences: Array) -> Array:
    """Logits of confidences, cut at 0.001 and 0.999."""
    cut = confidences.clip(0.001, 0.999)
    return np.asarray(np.log(cut / (1 - cut)))


def _measure_confidence(confidences: Array, distances: Array, labelled: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The line of `PoseErrors.confidence`, and mean and deviation where nothing is labelled."""
    logits, k = logit(confidences), labelled.shape[1]
    everywhere = _line(np.log1p(distances[labelled] ** 2), logits[labelled]) if labelled.any() else np.zeros(3)
    line, guess = np.tile(everywhere, (k, 1)), np.tile([logits.mean(), logits.std()], (k, 1))
    for j in range(k):
        known = labelled[:, j]
        if known.sum() >= FEWEST_PEOPLE:
            line[j] = _line(np.log1p(distances[known, j] ** 2), logits[known, j])
        if (~known).sum() >= FEWEST_PEOPLE:
            guess[j] = logits[~known, j].mean(), logits[~known, j].std()
    return line, guess


def _line(x: Array, y: Array) -> Array:
    """a, b, s of ``y = a - b x + s e`` by least squares."""
    slope = float(np.cov(x, y)[0, 1] / max(float(x.var(ddof=1)), 1e-9)) if len(x) > 1 else 0.0
    level = float(y.mean() - slope * x.mean())
    return np.array([level, -slope, float((y - level - slope * x).std())])


def _measure_guesses(people: Predictions, labelled: NDArray[np.bool_]) -> Array:
    relative = to_box(people.keypoints, people.boxes)
    guess = np.zeros((labelled.shape[1], 2, 2))
    for j in range(labelled.shape[1]):
        chosen = relative[~labelled[:, j], j]
        chosen = chosen if len(chosen) >= FEWEST_PEOPLE else relative[:, j]
        guess[j] = np.stack([chosen.mean(0), chosen.std(0)], axis=-1)
    return guess


def _measure_boxes(boxes: Array, labels: Array) -> Array:
    size, wanted = (np.maximum(group[:, 2:] - group[:, :2], 1.0) for group in (boxes, labels))
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (labels[:, :2] + labels[:, 2:])) / 2 / wanted
    values = np.concatenate([shift, np.log(size / wanted)], axis=1).clip(-1, 1)
    return np.asarray(np.stack([values.mean(0), values.std(0)], axis=-1))


def frame_of(boxes: Array) -> tuple[Array, Array]:
    """(M, 1, 2) centres and (M, 1, 1) longer sides of (M, 4) boxes, at least one pixel."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return centres, (boxes[:, 2:] - boxes[:, :2]).max(-1).clip(min=1.0)[:, None, None]


def to_box(points: Array, boxes: Array) -> Array:
    """(M, K, 2) pixels -> relative to the box: (keypoint - centre) / longer side."""
    centres, sides = frame_of(boxes)
    return np.asarray((points - centres) / sides)


# --- drawing --------------------------------------------------------------------------------------------------------


def draw_errors(errors: PoseErrors, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator) -> Drawn:
    """Predictions as the measured model might have made them."""
    units = labels.units(skeleton.sigmas)
    boxes = _draw_boxes(errors, labels.boxes, rng)
    targets, width = _draw_targets(errors, labels, skeleton, rng)
    factor = np.linalg.cholesky(errors.correlation)
    noise = np.einsum("kl,mlc->mkc", factor, rng.standard_normal(targets.shape))
    points = targets + noise * (width * units)[..., None]
    centres, sides = frame_of(boxes)
    guesses = errors.guess[..., 0] + errors.guess[..., 1] * rng.standard_normal(points.shape)
    points = np.where(labels.labelled[..., None], points, centres + sides * guesses)
    distances = np.linalg.norm(points - labels.keypoints, axis=-1) / units
    return Drawn(boxes, points, _draw_confidences(errors, distances, labels.labelled, rng))


def _draw_boxes(errors: PoseErrors, labels: Array, rng: np.random.Generator) -> Array:
    values = errors.box[:, 0] + errors.box[:, 1] * rng.standard_normal((len(labels), 4))
    size = labels[:, 2:] - labels[:, :2]
    centres = (labels[:, :2] + labels[:, 2:]) / 2 + values[:, :2] * size
    half = size * np.exp(values[:, 2:]) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _draw_targets(
    errors: PoseErrors, labels: LabelledPeople, skeleton: Skeleton, rng: np.random.Generator
) -> tuple[Array, Array]:
    """What each keypoint is aimed at (M, K, 2), and how far it scatters around it (M, K), in units."""
    order, k = skeleton.flip_order, len(skeleton.names)
    own = np.where(labels.labelled[..., None], labels.keypoints, np.nan)
    turned = rng.random(len(labels)) < errors.turned
    aim = np.where((turned[:, None] & np.isfinite(own[:, order, 0]))[..., None], own[:, order], own)
    counterpart = np.where((turned[:, None] & np.isfinite(own[:, order, 0]))[..., None], own, own[:, order])
    draw = rng.random((len(labels), k))
    bounds = np.cumsum(np.stack([errors.inverted, errors.swapped, errors.missed], axis=-1), axis=-1)
    inverted = (draw < bounds[:, 0]) & np.isfinite(counterpart[..., 0]) & (np.array(order) != np.arange(k))
    swapped = (draw >= bounds[:, 0]) & (draw < bounds[:, 1]) & np.isfinite(labels.rivals[..., 0])
    missed = (draw >= bounds[:, 1]) & (draw < bounds[:, 2])
    targets = np.where(inverted[..., None], counterpart, np.where(swapped[..., None], labels.rivals, aim))
    return np.nan_to_num(targets), np.where(missed, errors.reach, errors.spread)


def _draw_confidences(
    errors: PoseErrors, distances: Array, labelled: NDArray[np.bool_], rng: np.random.Generator
) -> Array:
    level, slope, scatter = errors.confidence.T
    noise = rng.standard_normal(distances.shape)
    known = level - slope * np.log1p(distances**2) + scatter * noise
    unknown = errors.guess_confidence[:, 0] + errors.guess_confidence[:, 1] * noise
    return np.asarray(1 / (1 + np.exp(-np.where(labelled, known, unknown).clip(-30, 30))))
