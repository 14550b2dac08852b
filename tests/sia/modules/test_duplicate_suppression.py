"""A token steps back for a better one in the same place, and for nobody else."""

from __future__ import annotations

import torch

from sia.modules.detection_tokens import PENALTY, DuplicateSuppression, overlap_with_better
from sia.outputs import Prediction

HERE, NEAR, AWAY = [0.5, 0.5, 0.2, 0.4], [0.5, 0.6, 0.2, 0.4], [0.1, 0.5, 0.1, 0.1]


def predicted(boxes: list[list[float]], scores: list[float]) -> Prediction:
    count = len(boxes)
    return Prediction(
        torch.tensor([scores]), torch.tensor([boxes]), torch.zeros(1, count, 3, 2), torch.zeros(1, count, 3)
    )


def lost(boxes: list[list[float]], scores: list[float], groups: int = 1) -> list[float]:
    before = predicted(boxes, scores)
    tokens = torch.zeros(1, len(boxes), 8)
    after = DuplicateSuppression(8)(tokens, before, groups)
    assert after.boxes is before.boxes
    return (before.scores - after.scores)[0].tolist()


def test_the_best_of_a_place_loses_nothing_and_its_copy_most():
    costs = lost([HERE, HERE, AWAY], [1.0, 2.0, 0.0])
    torch.testing.assert_close(torch.tensor(costs), torch.tensor([PENALTY, 0, 0]), atol=0.01, rtol=0)


def test_the_less_overlap_the_less_is_lost():
    """IoU of the two is 0.3 / 0.5."""
    costs = lost([HERE, NEAR], [2.0, 1.0])
    torch.testing.assert_close(torch.tensor(costs), torch.tensor([0, 0.6**2 * PENALTY]), atol=0.01, rtol=0)


def test_groups_know_nothing_of_each_other():
    assert lost([HERE, AWAY, HERE, AWAY], [1.0, 0.0, 2.0, 0.0], groups=2) == [0, 0, 0, 0]


def test_equals_do_not_silence_each_other():
    assert lost([HERE, HERE], [1.0, 1.0]) == [0, 0]


def test_overlap_is_with_the_better_ones_only():
    corners = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 1, 1]]])
    found = overlap_with_better(corners, torch.tensor([[0.5, 0.9, 0.1]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.0, 0.5]]))


def test_the_penalty_learns_and_boxes_feel_nothing():
    prediction = predicted([HERE, NEAR], [2.0, 1.0])
    prediction.boxes.requires_grad_()
    duplicate_suppression = DuplicateSuppression(8)
    duplicate_suppression(torch.ones(1, 2, 8), prediction, 1).scores.sum().backward()
    assert duplicate_suppression.penalty.weight.grad.any()
    assert prediction.boxes.grad is None
