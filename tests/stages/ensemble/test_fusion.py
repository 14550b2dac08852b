import numpy as np
import pytest

from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.fusion import ABSENT, fuse_keypoints, group_people, person_similarity, soft_suppression
from tests.stages.simulated import labels, member

ORDER = COCO_PERSON.flip_order


def fuse(points: np.ndarray, variances: np.ndarray, correlation: np.ndarray | None = None) -> tuple:
    correlation = np.eye(points.shape[1]) if correlation is None else correlation
    return fuse_keypoints(points, variances, correlation, COCO_PERSON)


def body(noise: float, seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A person of 17 places far apart, and `count` members' versions (1, M, 17, 2)."""
    rng = np.random.default_rng(seed)
    truth = np.stack([np.arange(17) % 5 * 40.0, np.arange(17) // 5 * 50.0], axis=-1)
    return truth, truth + noise * rng.standard_normal((1, count, 17, 2))


def test_independent_members_are_weighted_by_inverse_variance() -> None:
    _, points = body(1.0, 0)
    variances = np.broadcast_to(np.array([1.0, 2.0, 4.0])[None, :, None], (1, 3, 17)).copy()
    fused, spread, agree = fuse(points, variances)
    weights = np.array([4, 2, 1]) / 7
    together = agree[0] == 1
    assert together.sum() > 10
    assert fused[0][together] == pytest.approx(np.einsum("m,mkc->kc", weights, points[0])[together])
    assert spread[0][together] == pytest.approx(4 / 7)


def test_correlated_members_get_the_weights_of_least_variance() -> None:
    _, points = body(0.1, 0)
    correlation = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1.0]])
    fused, spread, _ = fuse(points, np.ones((1, 3, 17)), correlation)
    weights = np.linalg.solve(correlation, np.ones(3))
    weights /= weights.sum()
    assert weights[2] > 0.45  # the two views are worth little more than one
    assert fused[0] == pytest.approx(np.einsum("m,mkc->kc", weights, points[0]))
    assert spread[0] == pytest.approx(weights @ correlation @ weights)


def test_an_absent_member_has_no_say() -> None:
    _, points = body(0.1, 0)
    variances = np.ones((1, 3, 17))
    variances[:, 1] = np.inf
    points[:, 1] = np.nan
    assert fuse(points, variances)[0] == pytest.approx(points[:, [0, 2]].mean(1))


@pytest.mark.parametrize("swapped", [0, 1, 2])
@pytest.mark.parametrize("pairs", [None, [(5, 6)], [(7, 8), (9, 10)]])
def test_a_member_with_left_and_right_exchanged_does_no_harm(swapped: int, pairs: list | None) -> None:
    truth, points = body(1.0, 1)
    order = list(ORDER) if pairs is None else list(range(17))
    for a, b in pairs or []:
        order[a], order[b] = b, a
    clean = fuse(points, np.ones((1, 3, 17)))[0]
    points[:, swapped] = points[:, swapped, order]
    fused = fuse(points, np.ones((1, 3, 17)))[0]
    assert np.abs(fused - clean).max() < 1e-9  # put right, not merely left out
    worst_mean = np.abs(points.mean(1)[0] - truth).max()
    assert worst_mean > 10 > 4 * np.abs(fused[0] - truth).max() / 2


def test_of_two_members_the_more_precise_one_says_which_side_is_which() -> None:
    truth, points = body(0.5, 2, count=2)
    points[:, 1] = points[:, 1, ORDER]
    variances = np.stack([np.full((1, 17), 0.25), np.full((1, 17), 1.0)], axis=1)
    assert np.abs(fuse(points, variances)[0][0] - truth).max() < 2


def test_a_keypoint_that_is_far_from_the_others_is_left_out() -> None:
    truth, points = body(1.0, 3)
    points[0, 2, 9] += 200
    fused, _, agree = fuse(points, np.ones((1, 3, 17)))
    assert np.abs(fused[0, 9] - truth[9]).max() < 3 and agree[0, 9] == pytest.approx(2 / 3)


def shuffled(people: Predictions, seed: int) -> Predictions:
    order = np.random.default_rng(seed).permutation(len(people))
    return people.select(order)


def test_people_are_grouped_whatever_their_order_and_whoever_is_missing() -> None:
    truth = labels(images=1, people=3)
    first, second = member(truth, 0.3, 1), shuffled(member(truth, 0.3, 2), 3)
    third = member(truth, 0.3, 4).select(slice(1))
    groups = group_people([first, second, third], COCO_PERSON)
    assert len(groups) == 3
    for row in groups:
        assert np.abs(first.boxes[row[0]] - second.boxes[row[1]]).max() < 1e-9
        assert row[2] == (0 if row[0] == 0 else ABSENT)


def test_nobody_is_taken_twice_and_strangers_stand_alone() -> None:
    truth = labels(images=1, people=4)
    first = member(truth, 0.3, 1).select(slice(2))
    second = member(truth, 0.3, 2).select(slice(2, None))
    groups = group_people([first, second], COCO_PERSON)
    assert len(groups) == 4 and ((groups == ABSENT).sum(1) == 1).all()
    nobody = first.select(slice(0))
    assert group_people([nobody, nobody], COCO_PERSON).shape == (0, 2)
    assert group_people([first, nobody], COCO_PERSON)[:, 1].tolist() == [ABSENT, ABSENT]


def test_soft_suppression_equals_the_slow_version() -> None:
    truth = labels(images=1, people=3)
    points = np.concatenate([truth.keypoints, truth.keypoints + 1.0])
    boxes = np.concatenate([truth.boxes, truth.boxes])
    similarity = person_similarity(points, boxes, COCO_PERSON)
    scores = np.array([0.9, 0.3, 0.8, 0.85, 0.6, 0.7])
    expected, left = scores.copy(), list(range(6))
    while left:
        best = max(left, key=lambda i: expected[i])
        left.remove(best)
        for i in left:
            expected[i] *= np.exp(-(similarity[best, i] ** 2) / 0.5)
    assert soft_suppression(scores, similarity, 0.5) == pytest.approx(expected)
    assert np.array_equal(soft_suppression(scores, similarity, 0.0), scores)
