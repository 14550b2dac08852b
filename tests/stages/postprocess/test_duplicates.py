"""Clipping never hurts; another score is used where it helps, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sia.coco.coco_files import load_ground_truth
from sia.evaluation.coco_eval import evaluate
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.folds import CalibrationSet
from stages.postprocess.duplicates import Rule, choose_rule, clip
from tests.stages.crowd import SIDE, predict, truth_of


def ap(truth: dict, people) -> float:
    return evaluate(truth, people.rows(1), COCO_PERSON).AP


def calibration(truth: dict) -> CalibrationSet:
    return CalibrationSet(Path("truth.json"), load_ground_truth(truth, COCO_PERSON), COCO_PERSON, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clipping_brings_no_keypoint_further_from_its_label(seed: int) -> None:
    truth = truth_of(12, seed=seed)
    people = predict(truth, jitter=1.5, seed=seed)
    clipped = clip(people, {image["id"]: (SIDE, SIDE) for image in truth["images"]})
    labels = np.array([person["keypoints"] for person in truth["annotations"]]).reshape(-1, 17, 3)[..., :2]
    before, after = (np.hypot(*np.moveaxis(p.keypoints - labels, -1, 0)) for p in (people, clipped))
    assert (after <= before + 1e-9).all()
    assert (after < before).any()
    assert ap(truth, clipped) >= ap(truth, people)


def test_scores_that_know_less_than_the_confidences_are_mended() -> None:
    truth = truth_of(30)
    people = predict(truth, jitter=0.8, ghosts=0.7, blind=0.4)
    rule, gain = choose_rule(people, calibration(truth))
    assert rule.weight > 0
    assert gain > 0
    fresh = truth_of(30, seed=9)
    unseen = predict(fresh, jitter=0.8, ghosts=0.7, blind=0.4, seed=10)
    assert ap(fresh, rule.apply(unseen, COCO_PERSON)) > ap(fresh, unseen)


def test_people_found_twice_are_told_once() -> None:
    truth = truth_of(20)
    people = predict(truth, jitter=0.4, doubles=0.8)
    tidied = Rule(limit=0.6).apply(people, COCO_PERSON)
    assert (tidied.scores < people.scores).sum() > 30
    assert ap(truth, tidied) > ap(truth, people)


def test_nothing_to_gain_changes_nothing() -> None:
    truth = truth_of(10)
    people = predict(truth, jitter=0.01)
    rule, gain = choose_rule(people, calibration(truth))
    assert (rule, gain) == (Rule(), 0.0)
    assert (rule.apply(people, COCO_PERSON).scores == people.scores).all()


def test_one_image_is_too_little_to_choose_on() -> None:
    truth = truth_of(1)
    assert choose_rule(predict(truth), calibration(truth)) == (Rule(), 0.0)
