"""From candidates to people: order, ranges, and the way back through the letterbox."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sia.boxes import to_corners
from sia.losses.criterion import QUALITY_POWER
from sia.modules.postprocess import Decoded, around, decode, to_original
from sia.outputs import PoseOutput, Prediction


def output_of(scores: list[list[float]], keypoints: int = 3) -> PoseOutput:
    g = torch.Generator().manual_seed(0)
    logits = torch.tensor(scores)
    boxes = torch.rand(*logits.shape, 4, generator=g) * 0.4 + 0.1
    poses = torch.rand(*logits.shape, keypoints, 2, generator=g)
    people = Prediction(logits, boxes, poses, torch.randn(*logits.shape, keypoints, generator=g))
    return PoseOutput(people, [], None, None, [], people)


def test_best_first_and_everything_in_the_same_order():
    output = output_of([[0.0, 2.0, -1.0], [3.0, 1.0, 2.0]])
    decoded = decode(output, (48, 96))
    order = torch.tensor([[1, 0, 2], [0, 2, 1]])
    people = output.people.select(order)
    torch.testing.assert_close(decoded.scores, people.scores.sigmoid() ** (1 / QUALITY_POWER))
    torch.testing.assert_close(decoded.keypoints, people.poses * 96)
    torch.testing.assert_close(decoded.confidences, people.confidences.sigmoid())
    torch.testing.assert_close(decoded.boxes, around(to_corners(people.boxes), people.poses) * 96)


def test_boxes_grow_where_keypoints_lie_outside():
    boxes = torch.tensor([[10.0, 10, 20, 30], [0, 0, 50, 50], [5, 5, 6, 6]])
    poses = torch.tensor([[[12.0, 0], [15, 40]], [[20, 20], [30, 40]], [[8, 5], [8, 5]]])
    expected = torch.tensor([[10.0, -2, 20, 42], [0, 0, 50, 50], [5, 5, 8, 6]])
    torch.testing.assert_close(around(boxes, poses), expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8))
def test_scores_are_sorted_and_between_0_and_1(logits):
    scores = decode(output_of([logits]), (64, 64)).scores[0].tolist()
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_the_score_gives_back_the_quality_that_was_its_target():
    quality = torch.tensor([0.9, 0.5, 0.1])
    logits = torch.logit(quality**QUALITY_POWER)
    torch.testing.assert_close(decode(output_of([logits.tolist()]), (64, 64)).scores[0], quality)


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.05, 8),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    st.integers(0, 1000),
)
def test_the_way_back_is_the_inverse_of_the_letterbox(scale, pad, size, seed):
    g = torch.Generator().manual_seed(seed)
    height, width = size
    extent = torch.tensor([width, height])
    corner = torch.rand(1, 4, 2, generator=g) * extent * 0.5
    boxes = torch.cat([corner, corner + 0.4 * extent], -1)
    keypoints = torch.randn(1, 4, 5, 2, generator=g) * width
    shift = torch.tensor([float(pad[0]), float(pad[1])])
    decoded = Decoded(
        torch.rand(1, 4, generator=g),
        boxes * scale + shift.repeat(2),
        keypoints * scale + shift,
        torch.rand(1, 4, 5),
    )
    letterbox = torch.tensor([[scale, *shift.tolist()]])
    (people,) = to_original(decoded, letterbox, torch.tensor([[height, width]]))
    tolerance = 1e-3 + 1e-5 * (max(size) + max(pad) / scale)
    np.testing.assert_allclose(people.boxes, boxes[0].numpy(), atol=tolerance)
    np.testing.assert_allclose(people.keypoints, keypoints[0].numpy(), atol=10 * tolerance)
    np.testing.assert_array_equal(people.scores, decoded.scores[0].numpy())


def test_boxes_are_clipped_to_the_image_and_keypoints_are_not():
    decoded = Decoded(
        torch.tensor([[0.9, 0.8]]),
        torch.tensor([[[-5.0, 10, 70, 40], [20, -8, 30, 500]]]),
        torch.tensor([[[[-50.0, 900.0]], [[70.0, -3.0]]]]),
        torch.ones(1, 2, 1),
    )
    (people,) = to_original(decoded, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[48, 64]]))
    assert people.boxes.tolist() == [[0, 10, 64, 40], [20, 0, 30, 48]]
    assert people.keypoints.tolist() == [[[-50, 900]], [[70, -3]]]


def test_people_of_whom_no_box_is_in_the_image_are_left_out():
    boxes = torch.tensor([[[1.0, 1, 2, 2], [-9, 1, -2, 2], [70, 1, 90, 9], [5, 5, 5, 9], [3, 3, 9, 9]]])
    decoded = Decoded(torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]]), boxes, torch.zeros(1, 5, 2, 2), torch.ones(1, 5, 2))
    (people,) = to_original(decoded, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[48, 64]]))
    np.testing.assert_allclose(people.scores, [0.9, 0.5])


def test_nobody_is_no_special_case():
    decoded = Decoded(torch.zeros(2, 0), torch.zeros(2, 0, 4), torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3))
    people = to_original(decoded, torch.ones(2, 3), torch.ones(2, 2, dtype=torch.int64))
    assert [len(found) for found in people] == [0, 0]
    assert people[0].keypoints.shape == (0, 3, 2)


def test_each_image_has_its_own_letterbox():
    decoded = decode(output_of([[0.0, 1.0]] * 2), (64, 64))
    twins = Decoded(*(part[:1].repeat(2, *(1 for _ in part.shape[1:])) for part in decoded))
    letterboxes = torch.tensor([[1.0, 0.0, 0.0], [0.5, 4.0, 2.0]])
    first, second = to_original(twins, letterboxes, torch.tensor([[640, 640], [640, 640]]))
    np.testing.assert_allclose(second.keypoints, (first.keypoints - [4.0, 2.0]) / 0.5, rtol=1e-5)


def test_half_precision_becomes_float32():
    decoded = Decoded(*(part.bfloat16() for part in decode(output_of([[0.0, 1.0]]), (64, 64))))
    (people,) = to_original(decoded, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[64, 64]]))
    assert people.boxes.dtype == people.keypoints.dtype == np.float32
