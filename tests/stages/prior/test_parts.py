"""Swaps, moves, new scores and anatomy: each does what it should where it is known, and nothing where it can't."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sia.evaluation.labels import LabelledPeople
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.prior.kinematics import learn_anatomy
from stages.prior.moves import Moves
from stages.prior.parts import MatchedLabels, PriorContext, best_choice, cross_fitted
from stages.prior.recalibration import Rescoring
from stages.prior.swaps import Swaps, proposals
from stages.prior.training import PriorOutput
from tests.stages.pose_helpers import STANDING, people, predictions

EVERYTHING = learn_anatomy(people(3000, seed=9), COCO_PERSON)


@dataclass(frozen=True)
class KnowingScene(PriorContext):
    """Its prior knows the labels, and some noise."""

    labels: LabelledPeople | None = None
    knowledge: float = 1.0

    def advise(self, people: Predictions) -> PriorOutput:
        assert self.labels is not None
        way = self.labels.keypoints - people.keypoints
        noise = np.random.default_rng(0).normal(0, 30, way.shape) * (1 - self.knowledge)
        distance = np.linalg.norm(way, axis=-1)
        gaps = self.knowledge * distance / 10
        return PriorOutput(self.knowledge * way + noise, np.zeros(distance.shape), gaps, gaps.mean(1))


def scene(labels: LabelledPeople, found: Predictions, knowledge: float = 1.0) -> tuple[KnowingScene, MatchedLabels]:
    excluded = np.full(len(found), -1)
    return (
        KnowingScene(found, excluded, (), EVERYTHING, COCO_PERSON, labels, knowledge),
        MatchedLabels.of(found, labels, COCO_PERSON),
    )


def jittered(labels: LabelledPeople, size: float) -> Predictions:
    noise = np.random.default_rng(3).normal(0, size, labels.keypoints.shape)
    return predictions(labels, labels.keypoints + noise)


ALL = np.ones(120, dtype=bool)


def test_proposals_are_exchanges_of_joined_pairs() -> None:
    limbs, body = proposals(COCO_PERSON)
    assert body == COCO_PERSON.flip_order
    assert all(np.array(order)[order].tolist() == list(range(17)) for order in limbs)
    arm, split = list(range(17)), list(range(17))
    for a, b in ((5, 6), (7, 8), (9, 10)):
        arm[a], arm[b] = b, a
    split[9], split[10], split[15], split[16] = 10, 9, 16, 15
    assert arm in limbs
    assert split not in limbs
    assert proposals(Skeleton(("a", "b"), ((0, 1),), (), (0.1, 0.1)))[0] == []


def test_turned_people_and_limbs_are_turned_back() -> None:
    labels = people(120)
    found = jittered(labels, 2)
    points = found.keypoints.copy()
    points[:30] = points[:30][:, COCO_PERSON.flip_order]
    points[30:60, [13, 14, 15, 16]] = points[30:60][:, [14, 13, 16, 15]]
    here, truth = scene(labels, replace(found, keypoints=points))
    swaps = Swaps(here)
    margins = swaps.fit(truth, ALL)
    changed = swaps.apply(margins)
    assert margins.limb is not None and margins.body is not None
    assert (changed.keypoints == found.keypoints).all((1, 2)).mean() > 0.95
    assert swaps.describe(margins)["people"] >= 58


def test_the_right_way_round_stays() -> None:
    labels = people(120)
    here, truth = scene(labels, jittered(labels, 0.5))
    swaps = Swaps(here)
    margins = swaps.fit(truth, ALL)
    assert swaps.describe(margins)["people"] == 0
    np.testing.assert_array_equal(swaps.apply(margins).keypoints, here.people.keypoints)


def test_moves_that_help_are_made() -> None:
    labels = people(120)
    here, truth = scene(labels, jittered(labels, 8))
    moves = Moves(here)
    changed = moves.apply(moves.fit(truth, ALL))
    assert truth.oks(changed).mean() > truth.oks(here.people).mean() + 0.1


def test_moves_that_harm_are_not_made() -> None:
    labels = people(120)
    here, truth = scene(labels, jittered(labels, 1), knowledge=0.0)
    moves = Moves(here)
    gate = moves.fit(truth, ALL)
    assert moves.describe(gate) == {}
    np.testing.assert_array_equal(moves.apply(gate).keypoints, here.people.keypoints)


def test_the_worth_of_all_moves_is_told_whatever_is_chosen() -> None:
    labels = people(120)
    here, truth = scene(labels, jittered(labels, 8))
    worth = Moves(here).worth(truth)
    assert list(worth) == ["0", "0.25", "0.5", "0.75", "1"]
    assert list(worth.values()) == sorted(worth.values())
    assert worth["1"] == 100


def test_only_doubtful_keypoints_are_moved_where_only_those_gain() -> None:
    """The prior is right about the half with low confidence, and wrong by far about the others."""
    labels, rng = people(120, unlabelled=0), np.random.default_rng(0)
    doubtful = rng.random((120, 17)) < 0.5
    points = labels.keypoints + np.where(doubtful[..., None], rng.normal(0, 20, (120, 17, 2)), 0)
    found = predictions(labels, points, np.where(doubtful, 0.2, 0.8) + 0.01 * rng.random((120, 17)))
    here, truth = scene(labels, found)
    moves = Moves(here)
    moves.advice = replace(moves.advice, moves=np.where(doubtful[..., None], moves.advice.moves, 40.0))
    gate = moves.fit(truth, ALL)
    assert (gate.strength > 0).all()
    sure = found.confidences > 0.5
    assert (sure & (found.confidences <= gate.below)).mean() < 0.05


def test_a_move_that_breaks_a_bone_is_not_made() -> None:
    labels = people(120, unlabelled=0)
    here, truth = scene(labels, jittered(labels, 1))
    moves = Moves(here)
    far = np.zeros((120, 17, 2))
    far[:, 9] = 400
    moves.advice = replace(moves.advice, moves=far)
    gate = moves.fit(truth, ALL)
    open_gate = replace(gate, strength=np.ones(17), below=np.ones(17))
    kept = (moves.apply(open_gate).keypoints == here.people.keypoints).all((1, 2))
    assert kept.mean() > 0.95  # one had bones as long before


def test_new_scores_follow_what_tells_quality() -> None:
    labels = people(120)
    spread = np.random.default_rng(1).uniform(1, 40, 120)[:, None, None]
    points = labels.keypoints + np.random.default_rng(3).normal(0, 1, labels.keypoints.shape) * spread
    here, truth = scene(labels, predictions(labels, points))
    part = Rescoring(here)
    folds = np.arange(120) // 2 % 4
    scores = cross_fitted(part, truth, folds).scores
    assert np.corrcoef(scores, truth.qualities(here.people))[0, 1] > 0.7
    assert part.describe(part.fit(truth, ALL))["anomaly_score"] < 0


def test_bones_and_angles() -> None:
    labels = people(300, seed=4, unlabelled=0)
    assert EVERYTHING.broken(labels.keypoints, labels.boxes).mean() < 0.01
    bent = labels.keypoints.copy()
    bent[:, 9] += 300
    broken = EVERYTHING.broken(bent, labels.boxes)
    bones = [e for e, edge in enumerate(COCO_PERSON.edges) if 9 in edge]
    assert broken[:, bones].all()
    assert not learn_anatomy(people(50), COCO_PERSON).broken(bent, labels.boxes).any()  # too few to know limits


def test_turned_limbs_have_unusual_angles() -> None:
    body = np.repeat(STANDING[None], 2, axis=0) + 200
    body[1, [5, 6]] = body[1, [6, 5]]
    boxes = np.tile([150.0, 90.0, 250.0, 290.0], (2, 1))
    broken = EVERYTHING.broken(body, boxes).sum(1)
    assert broken[1] > broken[0]


@pytest.mark.parametrize(("mean", "expected"), [(0.0, "none"), (0.05, "some"), (-0.1, "none")])
def test_the_best_choice_has_to_be_sure(mean: float, expected: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    noise -= noise.mean()
    assert best_choice(["some"], lambda _: noise + mean, "none") == expected
