"""Thresholds for showing people, against a slow search."""

from __future__ import annotations

import numpy as np
import pytest

from sia.coco.coco_files import load_ground_truth
from sia.evaluation.coco_eval import evaluate
from sia.skeletons.skeleton import COCO_PERSON
from stages.postprocess.thresholds import choose_display_thresholds, matches
from tests.stages.crowd import predict, truth_of


def test_the_threshold_has_the_best_f1_of_all() -> None:
    annotations = truth_of(20)
    truth = load_ground_truth(annotations, COCO_PERSON)
    people = predict(annotations, jitter=0.9, ghosts=1.0)
    display = choose_display_thresholds(people, truth, COCO_PERSON)
    right = np.zeros(len(people), dtype=bool)
    right[[row for row, _ in matches(people, truth, COCO_PERSON)]] = True

    def f1(threshold: float) -> float:
        shown = people.scores >= threshold
        return 2 * (right & shown).sum() / (shown.sum() + len(annotations["annotations"]))

    assert f1(display.score) == pytest.approx(max(map(f1, people.scores)))
    shown = people.scores >= display.score
    assert display.precision == pytest.approx(right[shown].mean())
    assert display.recall == pytest.approx((right & shown).sum() / len(annotations["annotations"]))
    assert 0 < display.keypoint < 1
    assert display.keypoint_precision > 0.5


def test_people_found_are_those_of_the_evaluation() -> None:
    annotations = truth_of(15)
    people = predict(annotations, jitter=1.2, ghosts=1.0)
    truth = load_ground_truth(annotations, COCO_PERSON)
    found = len(list(matches(people, truth, COCO_PERSON)))
    assert found == evaluate(annotations, people.rows(1), COCO_PERSON).found


def test_nobody_found() -> None:
    annotations = truth_of(3)
    nobody = predict(annotations).select(slice(0))
    display = choose_display_thresholds(nobody, load_ground_truth(annotations, COCO_PERSON), COCO_PERSON)
    assert display.precision == display.recall == 0


def test_keypoints_that_the_label_has_not_are_wrong_to_show() -> None:
    """Ankles are nowhere labelled, and the model is not quite unsure of them."""
    annotations = truth_of(20)
    people = predict(annotations, jitter=0.2)
    ankles = [COCO_PERSON.names.index(f"{side}_ankle") for side in ("left", "right")]
    people.confidences[:] = 0.8
    people.confidences[:, ankles] = 0.2
    for person in annotations["annotations"]:
        for ankle in ankles:
            person["keypoints"][3 * ankle : 3 * ankle + 3] = [0, 0, 0]
        person["num_keypoints"] = sum(v > 0 for v in person["keypoints"][2::3])
    display = choose_display_thresholds(people, load_ground_truth(annotations, COCO_PERSON), COCO_PERSON)
    assert display.keypoint == pytest.approx(0.8)
