"""What runtimes return, and its way back through the letterbox."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sia.outputs import Certainty, PoseOutput, Prediction
from sia.runtimes.runtime import Decoded
from sia.runtimes.torch_runtime import torch_finder

SAME = np.array([[1.0, 0.0, 0.0]], np.float32)
"""The letterbox of an image that has the size of the input."""


def decoded_from(boxes: list[list[float]], keypoints: list[list[list[float]]]) -> Decoded:
    """One image; scores fall from 0.9 in steps of 0.1."""
    scores = 0.9 - 0.1 * np.arange(len(boxes))
    return Decoded(*(np.array(part, np.float32)[None] for part in (scores, boxes, keypoints)))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.05, 8),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    st.integers(0, 1000),
)
def test_the_way_back_is_the_inverse_of_the_letterbox(scale, pad, size, seed):
    rng = np.random.default_rng(seed)
    extent = np.array(size[::-1])
    corner = rng.random((4, 2)) * extent * 0.5
    boxes = np.concatenate([corner, corner + 0.4 * extent], -1)
    keypoints, confidences = rng.normal(size=(4, 5, 2)) * extent[0], rng.random((4, 5, 1))
    moved = np.concatenate([keypoints * scale + pad, confidences], -1)
    decoded = decoded_from((boxes * scale + np.tile(pad, 2)).tolist(), moved.tolist())
    (people,) = decoded.to_original(np.array([[scale, *pad]], np.float32), np.array([size]))
    tolerance = 1e-3 + 1e-5 * (max(size) + max(pad) / scale)
    np.testing.assert_allclose(people.boxes, boxes, atol=tolerance)
    np.testing.assert_allclose(people.keypoints, keypoints, atol=10 * tolerance)
    np.testing.assert_allclose(people.confidences, confidences[..., 0], atol=1e-6)
    np.testing.assert_array_equal(people.scores, decoded.scores[0])


def test_boxes_are_clipped_to_the_image_and_keypoints_are_not():
    decoded = decoded_from([[-5, 10, 70, 40], [20, -8, 30, 500]], [[[-50, 900, 1]], [[70, -3, 1]]])
    (people,) = decoded.to_original(SAME, np.array([[48, 64]]))
    assert people.boxes.tolist() == [[0, 10, 64, 40], [20, 0, 30, 48]]
    assert people.keypoints.tolist() == [[[-50, 900]], [[70, -3]]]
    assert people.boxes.dtype == people.keypoints.dtype == np.float32


def test_people_of_whom_no_box_is_in_the_image_are_left_out():
    boxes = [[1, 1, 2, 2], [-9, 1, -2, 2], [70, 1, 90, 9], [5, 5, 5, 9], [3, 3, 9, 9]]
    (people,) = decoded_from(boxes, [[[0, 0, 1]]] * 5).to_original(SAME, np.array([[48, 64]]))
    np.testing.assert_allclose(people.scores, [0.9, 0.5], atol=1e-6)


def test_nobody_is_no_special_case():
    decoded = Decoded(*(np.zeros((2, 0, *shape), np.float32) for shape in ((), (4,), (3, 3))))
    people = decoded.to_original(np.ones((2, 3), np.float32), np.ones((2, 2), np.int64))
    assert [len(found) for found in people] == [0, 0]
    assert people[0].keypoints.shape == (0, 3, 2)


def test_each_image_has_its_own_letterbox():
    plain = decoded_from([[1, 2, 30, 40]], [[[9, 8, 1], [7, 30, 1]]])
    told = plain._replace(visibilities=np.array([[[0.5, 1]]]), sigmas=np.array([[[3.0, 1]]]))
    twins = Decoded(*(part.repeat(2, axis=0) for part in told))
    letterboxes = np.array([[1.0, 0.0, 0.0], [0.5, 4.0, 2.0]], np.float32)
    first, second = twins.to_original(letterboxes, np.array([[640, 640], [640, 640]]))
    np.testing.assert_allclose(second.keypoints, (first.keypoints - [4.0, 2.0]) / 0.5, rtol=1e-5)
    assert first.sigmas.tolist() == [[3, 1]] and second.sigmas.tolist() == [[6, 2]]
    assert second.visibilities.tolist() == [[0.5, 1]]


def test_every_number_has_to_be_finite():
    assert decoded_from([[1, 2, 3, 4]], [[[1, 2, 1]]]).is_finite()
    assert not decoded_from([[1, 2, 3, 4]], [[[1, np.nan, 1]]]).is_finite()
    assert not decoded_from([[1, 2, np.inf, 4]], [[[1, 2, 1]]]).is_finite()


def test_half_precision_of_pytorch_becomes_float32():
    parts = (torch.rand(1, 2, *shape).bfloat16() for shape in ((), (4,), (3, 2), (3,)))
    people = Prediction(*parts)
    certainty = Certainty(torch.rand(1, 2, 3).bfloat16(), torch.rand(1, 2, 3).bfloat16())
    output = PoseOutput(people, [], None, None, [], people, certainty)
    find = torch_finder(lambda images: output, torch.device("cpu"))
    assert {part.dtype for part in find(np.zeros((1, 3, 64, 64), np.uint8))} == {np.dtype(np.float32)}
