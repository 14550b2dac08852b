"""Thresholds against a search through all of them, and the judgement that they rest on."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from datasets.labels import Labels
from sia.skeletons.skeleton import COCO_PERSON
from stages.ssl.teacher import TeacherPrediction
from stages.ssl.thresholds import (
    AGREEMENTS,
    ConfidenceThresholds,
    Gates,
    NoThresholdError,
    choose_gate,
    choose_thresholds,
    judge,
)

SIGMAS = np.array(COCO_PERSON.sigmas)


def best_by_search(scores: np.ndarray, agreement: np.ndarray, right: np.ndarray, wanted: float) -> int:
    """Most that pass any pair of thresholds at the wanted precision; 0 if none does."""
    known = ~np.isnan(right)
    most = 0
    for least in AGREEMENTS:
        for score in np.unique(scores[known]):
            passing = known & (scores >= score) & (agreement >= least)
            if (right[passing].sum() + 1) / (passing.sum() + 2) >= wanted and passing.any():
                most = max(most, int(passing.sum()))
    return most


@pytest.mark.parametrize("wanted", [0.4, 0.6, 0.8, 0.9])
def test_the_gate_that_lets_most_pass(wanted: float) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scores, agreement = rng.integers(0, 20, 60) / 20, rng.random(60)  # with equal scores
        right = (rng.random(60) < (scores + agreement) / 2).astype(float)
        right[rng.random(60) < 0.2] = np.nan
        most = best_by_search(scores, agreement, right, wanted)
        if not most:
            with pytest.raises(NoThresholdError, match=r"people .* the surest are to"):
                choose_gate(scores, agreement, right, wanted, "people")
            continue
        threshold = choose_gate(scores, agreement, right, wanted, "people")
        passing = threshold(scores, agreement) & ~np.isnan(right)
        assert threshold.passed == most == passing.sum()
        assert threshold.precision == pytest.approx(right[passing].mean())
        assert threshold.tried == (~np.isnan(right)).sum()


def test_few_lucky_ones_open_nothing() -> None:
    with pytest.raises(NoThresholdError):
        choose_gate(np.array([0.9]), np.ones(1), np.ones(1), 0.9, "people")
    with pytest.raises(NoThresholdError, match="of the 0 joints"):
        choose_gate(np.zeros(0), np.zeros(0), np.zeros(0), 0.5, "joints")


def standing(x: float, y: float, size: float) -> np.ndarray:
    """(17, 2) joints in a box."""
    return np.random.default_rng(5).uniform(0, 1, (17, 2)) * (size, 2 * size) + (x, y)


def truth_of(*poses: np.ndarray, bare: int = 0, ignored: tuple[tuple[float, ...], ...] = ()) -> Labels:
    """People of these joints; the last `bare` of them have none labelled."""
    keypoints = np.concatenate([np.array(poses), np.full((len(poses), 17, 1), 2)], -1).astype(np.float32)
    keypoints[len(poses) - bare :] = 0
    boxes = np.array([[*pose.min(0), *pose.max(0)] for pose in poses], np.float32)
    areas = 0.53 * (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return Labels(boxes, keypoints, areas, np.array(ignored, np.float32).reshape(-1, 4))


def opinion_of(*poses: np.ndarray) -> TeacherPrediction:
    """The teacher sees these, in this order of scores."""
    count = len(poses)
    boxes = np.array([[*pose.min(0), *pose.max(0)] for pose in poses])
    one = np.ones((count, 17))
    return TeacherPrediction(boxes, np.linspace(0.9, 0.5, count), np.array(poses), one, np.ones(count), one)


def test_judgement() -> None:
    """Right, a duplicate of it, wrong in its legs, nobody there, someone without keypoints, someone in a crowd."""
    a, b, bare, crowd = standing(0, 0, 40), standing(100, 0, 40), standing(200, 0, 40), standing(300, 0, 40)
    legs = b.copy()
    legs[7:] += 60
    nobody = standing(0, 200, 40)
    region = (290.0, 0.0, 400.0, 100.0)
    truth = truth_of(a, b, bare, bare=1, ignored=(region,))
    truth.keypoints[0, 3] = 0  # an ear that is not labelled
    verdict = judge(opinion_of(a, a + 1, legs, nobody, bare, crowd), truth, SIGMAS)
    np.testing.assert_array_equal(verdict.right, [1, 0, 0, 0, np.nan, np.nan])
    assert np.isnan(verdict.joints[0, 3])
    assert np.nansum(verdict.joints[0]) == 16
    np.testing.assert_array_equal(verdict.joints[2], [1] * 7 + [0] * 10)
    assert not verdict.joints[1].any()
    assert not verdict.joints[3].any()
    assert np.isnan(verdict.joints[4:]).all()
    assert verdict.found.tolist() == [True, False, False, False, True, False]


def test_nobody_seen_and_nobody_there() -> None:
    seen = opinion_of(standing(0, 0, 40))
    empty = TeacherPrediction(*(np.asarray(part)[:0] for part in vars(seen).values()))
    nobody = Labels(*(part[:0] for part in vars(truth_of(standing(0, 0, 40))).values()))
    assert judge(seen, nobody, SIGMAS).right.tolist() == [0]
    assert len(judge(empty, truth_of(standing(0, 0, 40)), SIGMAS).right) == 0


def test_gates_of_people_and_of_their_joints() -> None:
    """Joints are judged among those who pass; below `doubt` lies one person found in twenty."""
    rng = np.random.default_rng(0)
    opinions, verdicts = [], []
    for number in range(60):
        pose = standing(0, 0, 40)
        good = number % 3 > 0
        seen = opinion_of(pose if good else pose + 80, pose + 200)
        trust = rng.random((2, 17))
        near = (rng.random(17) < trust[0]).astype(float)
        seen = TeacherPrediction(
            seen.boxes, np.array([0.5 + 0.3 * good, 0.1]), seen.keypoints, trust, seen.agreement, near + 0 * trust
        )
        opinions.append(seen)
        verdicts.append(judge(seen, truth_of(pose), SIGMAS))
        verdicts[-1].joints[0] = near
    thresholds = choose_thresholds(opinions, verdicts, 0.8)
    assert thresholds.person.passed == 40
    assert thresholds.person.precision == 1.0
    assert thresholds.joint.tried == 40 * 17
    assert thresholds.doubt == pytest.approx(0.8)
    assert msgspec.json.decode(json.dumps(thresholds.to_dict()), type=Gates) == thresholds


def test_doubt_is_never_above_the_gate() -> None:
    threshold = ConfidenceThresholds(0.2, 0.5, 1.0, 1, 1)
    assert threshold(np.array([0.2, 0.1, 0.9]), np.array([0.5, 0.9, 0.4])).tolist() == [True, False, False]
    assert Gates(threshold, threshold, 0.1).to_dict()["person"]["score"] == 0.2
