"""From candidates to people in input pixels: order, ranges, and boxes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sia.boxes import to_corners
from sia.losses.criterion import QUALITY_POWER
from sia.modules.postprocess import around, decode
from sia.outputs import PoseOutput, Prediction
from tests.sia.skeletons.test_categories import BOTH


def output_of(scores: list[list[float]], keypoints: int = 3) -> PoseOutput:
    g = torch.Generator().manual_seed(0)
    logits = torch.tensor(scores)
    boxes = torch.rand(*logits.shape, 4, generator=g) * 0.4 + 0.1
    poses = torch.rand(*logits.shape, keypoints, 2, generator=g)
    people = Prediction(logits, boxes, poses, torch.randn(*logits.shape, keypoints, generator=g))
    return PoseOutput(people, [], None, None, [], people)


def test_best_first_and_everything_in_the_same_order():
    output = output_of([[0.0, 2.0, -1.0], [3.0, 1.0, 2.0]])
    scores, boxes, keypoints = decode(output, (48, 96))
    order = torch.tensor([[1, 0, 2], [0, 2, 1]])
    people = output.people.select(order)
    torch.testing.assert_close(scores, people.scores.sigmoid() ** (1 / QUALITY_POWER))
    torch.testing.assert_close(keypoints[..., :2], people.poses * 96)
    torch.testing.assert_close(keypoints[..., 2], people.confidences.sigmoid())
    torch.testing.assert_close(boxes, around(to_corners(people.boxes), people.poses) * 96)


def test_each_has_the_keypoints_of_one_category():
    output = output_of([[0.0, 2.0, -1.0, 1.0]], keypoints=7)
    _, plain, raw = decode(output, (96, 96))
    _, boxes, keypoints = decode(output, (96, 96), [slice(0, 3), slice(3, 7)])
    own = torch.from_numpy(BOTH.own(raw[0, ..., 2].numpy()))
    assert own.sum(-1).unique().tolist() == [3, 4]
    torch.testing.assert_close(keypoints[0][own], raw[0][own])
    assert not keypoints[0, ..., 2][~own].any()
    assert (boxes[..., :2] >= plain[..., :2]).all() and (boxes != plain).any()
    whole = ((keypoints[..., :2] >= boxes[..., None, :2]) & (keypoints[..., :2] <= boxes[..., None, 2:])).all()
    assert whole


def test_boxes_grow_where_keypoints_lie_outside():
    boxes = torch.tensor([[10.0, 10, 20, 30], [0, 0, 50, 50], [5, 5, 6, 6]])
    poses = torch.tensor([[[12.0, 0], [15, 40]], [[20, 20], [30, 40]], [[8, 5], [8, 5]]])
    expected = torch.tensor([[10.0, -2, 20, 42], [0, 0, 50, 50], [5, 5, 8, 6]])
    torch.testing.assert_close(around(boxes, poses), expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8))
def test_scores_are_sorted_and_between_0_and_1(logits):
    scores = decode(output_of([logits]), (64, 64))[0][0].tolist()
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_the_score_gives_back_the_quality_that_was_its_target():
    quality = torch.tensor([0.9, 0.5, 0.1])
    logits = torch.logit(quality**QUALITY_POWER)
    torch.testing.assert_close(decode(output_of([logits.tolist()]), (64, 64))[0][0], quality)
