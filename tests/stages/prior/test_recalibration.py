"""Confidences become the terms of OKS to expect: from what they were, and from what the prior sees; or stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sia.evaluation.labels import LabelledPeople
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.calibration import units_of, variances_of
from stages.prior.parts import cross_fitted
from stages.prior.recalibration import Confidences, Reliability, calibration_error, reliability
from tests.stages.pose_helpers import people, predictions
from tests.stages.prior.test_parts import scene

LABELS = people(240, unlabelled=0.1)
ALL = np.ones(len(LABELS), dtype=bool)
FOLDS = np.arange(len(LABELS)) // 2 % 4


def spoilt(labels: LabelledPeople, told: float) -> Predictions:
    """Errors of different sizes in units, of which the confidences know as much as `told`, in logits."""
    rng = np.random.default_rng(5)
    size = rng.choice([0.2, 2.0], labels.labelled.shape)
    units = labels.units(COCO_PERSON.sigmas)
    points = labels.keypoints + (size * units)[..., None] * rng.standard_normal(labels.keypoints.shape)
    logits = 2.5 + told * np.where(size > 1, -1, 1)
    return predictions(labels, points, 1 / (1 + np.exp(-logits)))


def recalibrated(found: Predictions, knowledge: float) -> tuple[Predictions, Reliability]:
    here, truth = scene(LABELS, found, knowledge)
    after = cross_fitted(Confidences(here), truth, FOLDS)
    return after, reliability(found, after, truth)


def test_boasting_is_undone() -> None:
    after, worth = recalibrated(spoilt(LABELS, 1.0), knowledge=0.0)
    assert worth.is_gain
    assert worth.brier[1] < worth.brier[0] - 0.05
    assert worth.calibration[1] < 0.05 < worth.calibration[0]
    assert 0 < after.confidences.min() < after.confidences.max() < 1


def test_what_the_prior_sees_is_used() -> None:
    """Confidences that say nothing, and a prior that knows the errors."""
    blind, knowing = (recalibrated(spoilt(LABELS, 0.0), knowledge)[1] for knowledge in (0.0, 1.0))
    assert knowing.brier[1] < 0.5 * blind.brier[1]


def test_right_confidences_stay() -> None:
    found = spoilt(LABELS, 0.0)
    _, truth = scene(LABELS, found)
    terms = np.nan_to_num(truth.terms(found), nan=0.5)
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, terms.shape)
    right = replace(found, confidences=(terms + noise).clip(0.01, 0.99))
    after, worth = recalibrated(right, knowledge=0.0)
    assert not worth.is_gain or worth.gain < 0.002
    assert abs(after.confidences - right.confidences)[np.isfinite(truth.terms(found))].mean() < 0.05


def test_poses_and_scores_stay() -> None:
    found = spoilt(LABELS, 1.0)
    after, _ = recalibrated(found, knowledge=1.0)
    for name in ("image_ids", "boxes", "scores", "keypoints"):
        np.testing.assert_array_equal(getattr(after, name), getattr(found, name))


def test_variances_are_those_of_the_confidences() -> None:
    """The mean term of OKS of Gaussian errors of such variances is the confidence."""
    boxes, rng = np.tile([10.0, 10, 110, 210], (1, 1)), np.random.default_rng(0)
    confidences = np.linspace(0.1, 0.95, 17)[None]
    variances = variances_of(confidences, boxes, COCO_PERSON)
    errors = rng.standard_normal((200_000, 17, 2)) * np.sqrt(variances)[..., None]
    terms = np.exp(-(errors**2).sum(-1) / (2 * units_of(boxes, COCO_PERSON) ** 2))
    np.testing.assert_allclose(terms.mean(0), confidences[0], atol=0.005)


def test_it_is_described_in_plain_words() -> None:
    here, truth = scene(LABELS, spoilt(LABELS, 1.0))
    part = Confidences(here)
    chosen = part.describe(part.fit(truth, ALL))
    assert list(chosen) == ["level", "confidence", "person", "spread", "gap"]
    assert chosen["gap"] < 0
    text = Reliability(9, (0.1523, 0.11), (0.2111, 0.03), 0.04, 0.01).words()
    assert text == "Brier score on calibrate 0.152 -> 0.110, calibration error 0.211 -> 0.030"


@pytest.mark.parametrize(("gain", "error", "expected"), [(0.02, 0.005, True), (0.02, 0.015, False), (0.0, 0.0, False)])
def test_a_gain_has_to_be_sure(gain: float, error: float, expected: bool) -> None:
    assert Reliability(9, (0.2, 0.1), (0.2, 0.1), gain, error).is_gain == expected


def test_calibration_error_by_hand() -> None:
    sure, half = np.full(50, 0.9), np.full(50, 0.4)
    right = np.r_[np.full(50, 0.7), np.full(50, 0.5)]
    assert calibration_error(np.r_[sure, half], right) == pytest.approx(0.15)
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0
