"""What is drawn is measured again; and each kind of error is told from the others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sia.errors import DataError
from sia.evaluation.labels import LabelledPeople, match_labels
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.error_model.pose_errors import PoseErrors, errors_of_pairs, sample_errors
from tests.stages.pose_helpers import people, predictions

PAIRED = np.array(COCO_PERSON.flip_order) != np.arange(17)


def known_errors(seed: int, spread: float) -> PoseErrors:
    rng = np.random.default_rng(seed)
    return PoseErrors(
        people=0, spread=spread * rng.uniform(0.8, 1.2, 17), reach=np.full(17, 5.0),
        inverted=rng.uniform(0.02, 0.12, 17) * PAIRED, swapped=rng.uniform(0, 0.08, 17),
        missed=rng.uniform(0.05, 0.2, 17), turned=0.08, correlation=np.full((17, 17), 0.4) + 0.6 * np.eye(17),
        confidence=np.tile([1.5, 0.7, 0.5], (17, 1)), guess=np.tile([[0.1, 0.2], [-0.2, 0.3]], (17, 1, 1)),
        guess_confidence=np.tile([-1.0, 0.6], (17, 1)),
        box=np.array([[0.02, 0.05], [-0.03, 0.06], [0.04, 0.1], [0, 0.08]]),
    )  # fmt: skip


def imagined(errors: PoseErrors, labels: LabelledPeople, seed: int = 1) -> Predictions:
    corrupted = sample_errors(errors, labels, COCO_PERSON, np.random.default_rng(seed))
    people = predictions(labels, corrupted.keypoints, corrupted.confidences)
    return replace(people, boxes=corrupted.boxes)


def measure_errors(people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> PoseErrors:
    """Of those found."""
    found = match_labels(people, labels, skeleton.sigmas)
    return errors_of_pairs(people.select(found >= 0), labels.select(found[found >= 0]), skeleton)


@pytest.mark.parametrize(("seed", "spread"), [(0, 0.3), (1, 0.5), (2, 0.8)])
def test_what_is_drawn_is_measured(seed: int, spread: float) -> None:
    errors, labels = known_errors(seed, spread), people(3000, seed)
    again = errors_of_pairs(imagined(errors, labels), labels, COCO_PERSON)
    body = np.arange(17) >= 5  # in units, a face is so large that its sides are told apart with ease; a body isn't
    np.testing.assert_allclose(again.spread, errors.spread, rtol=0.12)
    np.testing.assert_allclose(again.reach, errors.reach, rtol=0.2)
    for name in ("inverted", "swapped", "missed"):
        np.testing.assert_allclose(getattr(again, name)[body], getattr(errors, name)[body], atol=0.045, err_msg=name)
    assert again.turned == pytest.approx(errors.turned, abs=0.02)
    np.testing.assert_allclose(again.correlation, errors.correlation, atol=0.12)
    np.testing.assert_allclose(again.confidence, errors.confidence, atol=0.12)
    np.testing.assert_allclose(again.guess, errors.guess, atol=0.1)
    np.testing.assert_allclose(again.guess_confidence, errors.guess_confidence, atol=0.2)
    np.testing.assert_allclose(again.box, errors.box, atol=0.02)


def test_no_errors() -> None:
    labels = people(100)
    errors = errors_of_pairs(predictions(labels, labels.keypoints), labels, COCO_PERSON)
    assert errors.spread.max() <= 0.01
    assert max(errors.inverted.max(), errors.swapped.max(), errors.missed.max(), errors.turned) < 0.02


def test_everybody_turned() -> None:
    labels = people(100, unlabelled=0)
    turned = labels.keypoints[:, COCO_PERSON.flip_order]
    errors = errors_of_pairs(predictions(labels, turned), labels, COCO_PERSON)
    assert errors.turned > 0.99
    assert errors.inverted.max() < 0.05


def test_one_kind_at_a_time() -> None:
    labels, rng = people(400, unlabelled=0), np.random.default_rng(0)
    near = labels.keypoints + rng.normal(0, 1, labels.keypoints.shape)
    wrist, ankle, knee = 9, 16, 13
    near[:100, wrist] = labels.keypoints[:100, 10]
    near[50:150, ankle] = labels.rivals[50:150, ankle]
    near[300:, knee] += rng.normal(0, 60, (100, 2))
    errors = errors_of_pairs(predictions(labels, near), labels, COCO_PERSON)
    assert errors.inverted[wrist] == pytest.approx(0.25, abs=0.03)
    assert errors.swapped[ankle] == pytest.approx(0.25, abs=0.03)
    assert errors.missed[knee] == pytest.approx(0.25, abs=0.05)
    assert errors.inverted.sum() + errors.swapped.sum() + errors.missed.sum() == pytest.approx(0.75, abs=0.2)


def test_any_skeleton() -> None:
    stick = Skeleton(("head", "foot"), ((0, 1),), (), (0.1, 0.1), category="stick")
    labels = people(60)
    labels = replace(labels, keypoints=labels.keypoints[:, [0, 16]], labelled=labels.labelled[:, [0, 16]],
                     rivals=labels.rivals[:, [0, 16]])  # fmt: skip
    noisy = labels.keypoints + np.random.default_rng(0).normal(0, 3, labels.keypoints.shape)
    errors = errors_of_pairs(predictions(labels, noisy), labels, stick)
    assert errors.inverted.max() == 0
    assert sample_errors(errors, labels, stick, np.random.default_rng(0)).keypoints.shape == (60, 2, 2)


def test_it_is_plain_and_repeatable() -> None:
    labels = people(40)
    corrupted = [imagined(known_errors(0, 0.4), labels, seed).keypoints for seed in (1, 1, 2)]
    np.testing.assert_array_equal(corrupted[0], corrupted[1])
    assert (corrupted[0] != corrupted[2]).any()
    errors = measure_errors(imagined(known_errors(0, 0.4), labels), labels, COCO_PERSON)
    assert set(json.loads(json.dumps(errors.to_dict()))) == set(vars(errors))
    assert np.isfinite(corrupted[0]).all()


def test_too_few() -> None:
    labels = people(8)
    with pytest.raises(DataError, match="8 of the labelled people"):
        measure_errors(predictions(labels, labels.keypoints), labels, COCO_PERSON)
