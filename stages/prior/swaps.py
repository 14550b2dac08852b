"""Proposes to exchange left and right, of a limb or of the whole body, where that makes a pose less surprising."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from sia.evaluation.labels import Mask
from sia.evaluation.predictions import Array, Predictions
from sia.skeletons.skeleton import Skeleton
from stages.prior.parts import MatchedLabels, PriorContext, best_choice, choose

MARGINS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""By how much the surprise has to fall, in nats a keypoint; the best is chosen on the calibrate part."""

LARGEST_LIMB = 3
"""Pairs of keypoints in a limb: shoulder, elbow and wrist."""


@dataclass(frozen=True)
class SwapMargins:
    """What a swap has to bring; None for never.

    Attributes:
        limb: nats a keypoint.
        body: nats a keypoint.
    """

    limb: float | None
    body: float | None


class Swaps:
    """The best exchange of a limb and that of the whole body, for every person."""

    name = "swaps"

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        limbs, body = proposals(scene.skeleton)
        before = scene.advice.anomaly_score
        self.limb, self.limb_fall = self._best(limbs, before)
        self.body, self.body_fall = self._best([body], before)

    def _best(self, orders: list[list[int]], before: Array) -> tuple[Predictions, Array]:
        """The exchange with the least surprise, and how far it falls; none that breaks more bones or angles."""
        best, fall = self.scene.people, np.full(len(before), -np.inf)
        for order in orders:
            swapped = exchange(self.scene.people, order)
            gain = before - self.scene.advise(swapped).anomaly_score
            gain[self.scene.worse(swapped)] = -np.inf
            best, fall = choose(gain > fall, swapped, best), np.maximum(gain, fall)
        return best, fall

    def fit(self, truth: MatchedLabels, rows: Mask) -> SwapMargins:
        """The margins that raise the OKS of the people found, if any do."""
        before = truth.oks(self.scene.people)
        limb = _best_margin(truth.oks(self.limb) - before, self.limb_fall, rows & truth.matched)
        body = _best_margin(truth.oks(self.body) - before, self.body_fall, rows & truth.matched)
        return SwapMargins(limb, body)

    def apply(self, fitted: SwapMargins) -> Predictions:
        """Exchanges; where both are allowed, the one with the greater fall."""
        limb, body = (
            np.where(fall > (np.inf if margin is None else margin), fall, -np.inf)
            for fall, margin in ((self.limb_fall, fitted.limb), (self.body_fall, fitted.body))
        )
        people = choose(np.isfinite(limb) & (limb >= body), self.limb, self.scene.people)
        return choose(np.isfinite(body) & (body > limb), self.body, people)

    def describe(self, fitted: SwapMargins) -> dict[str, Any]:
        """Margins, and how many people they let through; None for never."""
        changed = (self.apply(fitted).keypoints != self.scene.people.keypoints).any((1, 2))
        return {"limb margin": fitted.limb, "body margin": fitted.body, "people": int(changed.sum())}


def proposals(skeleton: Skeleton) -> tuple[list[list[int]], list[int]]:
    """Permutations that exchange the sides of each limb, up to `LARGEST_LIMB` joined pairs, and of the whole body."""
    pairs = skeleton.flip_pairs
    joined = {
        (p, q) for p, q in combinations(range(len(pairs)), 2)
        if any({a, b} == {pairs[p][s], pairs[q][s]} for a, b in skeleton.edges for s in (0, 1))
    }  # fmt: skip
    limbs = [
        group
        for size in range(1, min(LARGEST_LIMB, len(pairs) - 1) + 1)
        for group in combinations(range(len(pairs)), size)
        if sum(link in joined for link in combinations(group, 2)) >= size - 1
    ]
    return [_order(skeleton, [pairs[p] for p in limb]) for limb in limbs], skeleton.flip_order


def _order(skeleton: Skeleton, pairs: list[tuple[int, int]]) -> list[int]:
    order = list(range(skeleton.num_keypoints))
    for a, b in pairs:
        order[a], order[b] = b, a
    return order


def exchange(people: Predictions, order: list[int]) -> Predictions:
    """Keypoints with their confidences and variances in another order."""
    return replace(
        people,
        keypoints=people.keypoints[:, order],
        confidences=people.confidences[:, order],
        variances=people.variances[:, order],
    )


def _best_margin(gain: Array, fall: Array, rows: Mask) -> float | None:
    margin: float | None = best_choice(MARGINS, lambda one: np.where(fall[rows] > one, gain[rows], 0.0), None)
    return margin
