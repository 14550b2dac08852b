"""New numbers by logistic regressions that start from the old ones, and see what the prior thinks.

Scores of people, after Gu et al., "On the Calibration of Human Pose Estimation" (arXiv 2311.17105): AP depends on how
people rank, and a score that expects the right OKS ranks them best. A score trained to expect it is hard to beat, so it
is the start. Confidences of keypoints become the term of OKS to expect. COCO's AP looks at none of them, but a
threshold for showing keypoints does, and so do tracking, smoothing and words: their worth is told by the Brier score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sia.evaluation.labels import Mask
from sia.evaluation.predictions import Array, Predictions
from stages.error_model.calibration import variances_of
from stages.error_model.statistics import LogisticRegression, logit
from stages.prior.parts import SURE, MatchedLabels, PriorContext

SCORE_RIDGE = 30.0
"""Weight of the squared slopes, in people who say: leave scores as they are."""

RIDGE = 3.0
"""The same in keypoints that say: leave confidences as they are."""

SHRINK = 20.0
"""The same for what is special about one kind of keypoint."""

BINS = 10
"""Equally filled, of the calibration error."""


class Rescoring:
    """The expected fraction of COCO's thresholds that a person passes."""

    name = "rescoring"
    columns = ("score", "confidence", "anomaly_score", "spread", "size", "broken")

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        people, advice = scene.people, scene.advice
        self.logits = logit(people.scores)
        sizes = (people.boxes[:, 2:] - people.boxes[:, :2]).clip(min=1.0)
        columns = [
            np.ones_like(self.logits), self.logits, logit(people.confidences).mean(1), advice.anomaly_score,
            advice.log_spreads.mean(1), np.log(sizes).mean(1), np.sqrt(scene.broken),
        ]  # fmt: skip
        self.features = np.stack(columns, axis=1)

    def fit(self, truth: MatchedLabels, rows: Mask) -> LogisticRegression:
        """Regresses `MatchedLabels.qualities`."""
        wanted, penalty = truth.qualities(self.scene.people)[rows], np.r_[0.0, np.full(len(self.columns), SCORE_RIDGE)]
        return LogisticRegression.fit(self.features[rows], wanted, penalty, self.logits[rows], plain=[0])

    def apply(self, fitted: LogisticRegression) -> Predictions:
        """The same people with new scores."""
        return replace(self.scene.people, scores=fitted(self.logits, self.features))

    def describe(self, fitted: LogisticRegression) -> dict[str, Any]:
        """Slopes of the standardised features; the score's is added to 1 for its logit."""
        return {name: round(float(w), 3) for name, w in zip(self.columns, fitted.weights[1:], strict=True)}


class Confidences:
    """The expected term of OKS of each keypoint, for all of them together."""

    name = "confidences"
    columns = ("level", "confidence", "person", "spread", "gap")

    def __init__(self, scene: PriorContext) -> None:
        self.scene = scene
        self.logits = logit(scene.people.confidences)
        person = np.broadcast_to(self.logits.mean(1, keepdims=True), self.logits.shape)
        gaps = np.log1p(scene.advice.gaps**2)
        columns = np.stack([np.ones_like(gaps), self.logits, person, scene.advice.log_spreads, gaps], axis=-1)
        kinds = np.broadcast_to(np.eye(gaps.shape[1]), (*gaps.shape, gaps.shape[1]))
        self.features = np.concatenate([columns, kinds], axis=-1)

    def fit(self, truth: MatchedLabels, rows: Mask) -> LogisticRegression:
        """Regresses the terms of OKS of the labelled keypoints of people found."""
        terms, count = truth.terms(self.scene.people), len(self.columns)
        known = np.isfinite(terms) & rows[:, None]
        kinds = range(count, self.features.shape[-1])
        penalty = np.r_[np.full(count, RIDGE), np.full(len(kinds), SHRINK)]
        start = self.logits[known]
        return LogisticRegression.fit(self.features[known], terms[known], penalty, start, plain=[0, *kinds])

    def apply(self, fitted: LogisticRegression) -> Predictions:
        """The same people with new confidences, and the variances that go with them."""
        people, confidences = self.scene.people, fitted(self.logits, self.features)
        variances = variances_of(confidences, people.boxes, self.scene.skeleton)
        return replace(people, confidences=confidences, variances=variances)

    def describe(self, fitted: LogisticRegression) -> dict[str, Any]:
        """Weights of the standardised features, beside the old confidence as it is."""
        return {name: round(float(w), 3) for name, w in zip(self.columns, fitted.weights, strict=False)}


@dataclass(frozen=True)
class Reliability:
    """How well confidences tell the terms of OKS, before and after.

    Attributes:
        keypoints: labelled ones of people found.
        brier: mean squared differences.
        calibration: calibration errors, the mean distance from 0 of the difference in each of `BINS` bins.
        gain, error: by how much the Brier score falls, and the standard error of that, images resampled.
    """

    keypoints: int
    brier: tuple[float, float]
    calibration: tuple[float, float]
    gain: float
    error: float

    @property
    def is_gain(self) -> bool:
        """Whether the new confidences are surely better."""
        return self.gain > max(SURE * self.error, 1e-6)

    def words(self) -> str:
        """Such as ``Brier score on calibrate 0.152 -> 0.110, calibration error 0.211 -> 0.031``."""
        (brier, new_brier), (error, new_error) = self.brier, self.calibration
        return (
            f"Brier score on calibrate {brier:.3f} -> {new_brier:.3f}, calibration error {error:.3f} -> {new_error:.3f}"
        )


def reliability(before: Predictions, after: Predictions, truth: MatchedLabels) -> Reliability:
    """Compares the confidences of N people, keypoints unchanged, with the truth about them."""
    terms = truth.terms(before)
    known = np.isfinite(terms)
    images = np.unique(before.image_ids, return_inverse=True)[1]
    wrong = [
        np.where(known, (people.confidences - np.nan_to_num(terms)) ** 2, 0.0).sum(1) for people in (before, after)
    ]
    count = max(int(known.sum()), 1)
    falls = np.bincount(images, weights=wrong[0] - wrong[1])
    errors = [calibration_error(people.confidences[known], terms[known]) for people in (before, after)]
    return Reliability(
        int(known.sum()), (float(wrong[0].sum() / count), float(wrong[1].sum() / count)), (errors[0], errors[1]),
        float(falls.sum() / count), float(np.sqrt(len(falls)) * falls.std() / count),
    )  # fmt: skip


def calibration_error(confidences: Array, terms: Array) -> float:
    """Of (P,) confidences and the terms that they expect; equally many in each bin."""
    parts = np.array_split(np.argsort(confidences, kind="stable"), BINS)
    gaps = [len(part) * abs(float((confidences[part] - terms[part]).mean())) for part in parts if len(part)]
    return sum(gaps) / max(len(terms), 1)
