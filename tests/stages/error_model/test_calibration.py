from dataclasses import replace

import numpy as np
import pytest

from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.calibration import ScoreCurve, VarianceModel, error_correlation, units_of
from tests.stages.simulated import labels, member


def test_variances_are_those_that_the_errors_were_drawn_with() -> None:
    truth, other = labels(seed=0), labels(seed=1)
    model = VarianceModel.fit(member(truth, 0.4, 2), truth, COCO_PERSON)
    people = member(other, 0.4, 3)
    variances = model.apply(people, COCO_PERSON).variances / units_of(people.boxes, COCO_PERSON) ** 2
    sure = people.confidences == 0.9
    assert np.median(variances[sure]) == pytest.approx(0.4**2, rel=0.2)
    assert np.median(variances[~sure]) == pytest.approx(0.8**2, rel=0.2)


def test_known_variances_take_the_place_of_confidences() -> None:
    """A member whose variances are right up to a factor of three, and whose confidences say nothing."""
    truth = labels()
    people = member(truth, 0.4, 2)
    true = np.where(people.confidences == 0.9, 0.4, 0.8) ** 2 * units_of(people.boxes, COCO_PERSON) ** 2
    people = replace(people, variances=3 * true, confidences=np.full_like(true, 0.5))
    ratio = VarianceModel.fit(people, truth, COCO_PERSON).apply(people, COCO_PERSON).variances / true
    assert np.abs(np.log(ratio)).mean() < 0.25


def test_too_few_people_leave_what_is_usual() -> None:
    truth = labels(1, 1)
    nobody = member(truth, 0.4, 2).select(slice(0))
    assert not VarianceModel.fit(nobody, truth, COCO_PERSON).weights.any()
    assert ScoreCurve.fit(nobody, truth, COCO_PERSON).slope == pytest.approx(1)


def test_a_score_becomes_the_share_of_thresholds_and_keeps_the_order() -> None:
    truth = labels(100)
    good, bad = member(truth, 0.1, 2), member(truth, 3.0, 3)
    people = replace(good, scores=np.full(len(good), 0.6))
    fooled = replace(bad, scores=np.full(len(bad), 0.4), image_ids=bad.image_ids + 1000)
    curve = ScoreCurve.fit(Predictions.join([people, fooled]), truth, COCO_PERSON)
    low, high = curve.apply(np.array([0.4, 0.6]))
    assert low < 0.06 and high > 0.9
    assert (np.diff(curve.apply(np.linspace(0.01, 0.99, 50))) > 0).all()


def test_views_of_one_model_are_seen_to_err_alike() -> None:
    truth = labels(100)
    noise = np.random.default_rng(5).standard_normal(truth.keypoints.shape)
    raw = [member(truth, 0.4, 6, noise), member(truth, 0.4, 6, noise), member(truth, 0.4, 7)]
    known = [VarianceModel.fit(people, truth, COCO_PERSON).apply(people, COCO_PERSON) for people in raw]
    found = error_correlation(known, truth, COCO_PERSON)
    assert found[0, 1] > 0.9 and abs(found[0, 2]) < 0.1
    assert np.linalg.eigvalsh(found).min() > 0.02
