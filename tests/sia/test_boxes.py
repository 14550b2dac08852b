"""Boxes against plain arithmetic and against torchvision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from sia.boxes import area, iou_and_giou, to_centres, to_corners
from sia.boxes import iou as iou_alone

numbers = st.floats(-1, 2, width=32)
sides = st.floats(0.0009765625, 2, width=32)
boxes = st.tuples(numbers, numbers, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def slow_overlap(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    """IoU and GIoU, one coordinate at a time."""

    def surface(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(0.0, x2 - x1) * max(0.0, y2 - y1)

    shared = surface(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = surface(*a) + surface(*b) - shared
    hull = surface(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    return shared / union, shared / union - (hull - union) / hull


@settings(max_examples=200, deadline=None)
@given(boxes, boxes)
def test_overlap_equals_plain_arithmetic(a, b):
    iou, giou = iou_and_giou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    assert (float(iou), float(giou)) == pytest.approx(slow_overlap(a, b), abs=1e-9)
    assert 0 <= iou <= 1 + 1e-9
    assert -1 - 1e-9 <= giou <= iou + 1e-9


@settings(max_examples=100, deadline=None)
@given(boxes)
def test_corners_and_centres_are_inverse(box):
    corners = torch.tensor(box, dtype=torch.float64)
    torch.testing.assert_close(to_corners(to_centres(corners)), corners)


def test_conversions_by_hand():
    assert to_corners(torch.tensor([3.0, 5.0, 2.0, 4.0])).tolist() == [2, 3, 4, 7]
    assert to_centres(torch.tensor([2.0, 3.0, 4.0, 7.0])).tolist() == [3, 5, 2, 4]
    assert area(torch.tensor([[2.0, 3.0, 4.0, 7.0], [4.0, 3.0, 2.0, 7.0]])).tolist() == [8, 0]


def test_overlap_broadcasts_and_equals_torchvision():
    torch.manual_seed(0)
    a, b = (to_corners(torch.rand(n, 4, dtype=torch.float64) + 0.01) for n in (5, 7))
    iou, giou = iou_and_giou(a[:, None], b[None])
    torch.testing.assert_close(iou, box_iou(a, b))
    torch.testing.assert_close(iou_alone(a[:, None], b[None]), iou)
    torch.testing.assert_close(giou, generalized_box_iou(a, b))


def test_empty_inverted_and_missing_boxes_are_finite():
    degenerate = torch.tensor([[0.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.9], [0.9, 0.9, 0.1, 0.1], [0.2, 0.2, 0.6, 0.6]])
    iou, giou = iou_and_giou(degenerate[:, None], degenerate[None])
    assert iou.isfinite().all() and giou.isfinite().all()
    assert iou[3, 3] == 1
    assert torch.equal(iou_alone(degenerate[:, None], degenerate[None]), iou)
    assert iou[0, 0] == 0
    assert iou_and_giou(torch.zeros(0, 4), torch.zeros(0, 4))[0].shape == (0,)


def test_gradients_are_finite_where_boxes_are_empty_or_equal():
    boxes = torch.tensor([[0.0, 0, 0, 0], [0.2, 0.2, 0.6, 0.6], [0.7, 0.7, 0.8, 0.8]], requires_grad=True)
    truth = torch.tensor([[0.2, 0.2, 0.6, 0.6]])
    iou, giou = iou_and_giou(boxes, truth)
    (iou + giou).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
