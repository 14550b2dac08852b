"""Batches move whole, and people are filtered together."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from sia.batch import PoseBatch
from sia.io.letterbox import Letterbox
from sia.people import People


def batch() -> PoseBatch:
    return PoseBatch(
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        boxes=torch.zeros(2, 1, 4),
        keypoints=torch.zeros(2, 1, 3, 3),
        areas=torch.zeros(2, 1),
        people=torch.zeros(2, 1, dtype=torch.bool),
        ignored=torch.zeros(2, 0, 4),
        image_ids=torch.arange(2),
        letterboxes=torch.ones(2, 3),
        sizes=torch.ones(2, 2, dtype=torch.int64),
        files=["a.jpg", "b.jpg"],
    )


def people() -> People:
    scores = np.array([0.9, 0.5, 0.1], dtype=np.float32)
    return People(
        boxes=np.arange(12, dtype=np.float32).reshape(3, 4),
        scores=scores,
        keypoints=np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        confidences=np.arange(6, dtype=np.float32).reshape(3, 2),
    )


def test_every_tensor_of_a_batch_moves():
    moved = batch().to("meta")
    for field in fields(moved):
        value = getattr(moved, field.name)
        if field.name != "files":
            assert value.device.type == "meta", field.name
            assert value.dtype == getattr(batch(), field.name).dtype
    assert moved.files == ["a.jpg", "b.jpg"]


def test_the_original_stays_where_it_was():
    original = batch()
    original.to("meta")
    assert original.images.device.type == "cpu"


@pytest.mark.parametrize(("threshold", "left"), [(0.0, 3), (0.5, 2), (0.6, 1), (1.0, 0)])
def test_people_above_a_threshold(threshold, left):
    found = people().above(threshold)
    assert len(found) == left
    np.testing.assert_array_equal(found.boxes, people().boxes[:left])
    np.testing.assert_array_equal(found.keypoints, people().keypoints[:left])
    np.testing.assert_array_equal(found.confidences, people().confidences[:left])


def test_nobody_is_no_special_case():
    nobody = people().above(2.0)
    assert nobody.keypoints.shape == (0, 2, 2)
    assert len(nobody.above(0.5)) == 0


def test_letterbox_is_three_numbers_in_this_order():
    assert Letterbox(0.5, 3, 4) == (0.5, 3, 4)
    assert Letterbox(scale=0.5, pad_x=3, pad_y=4).pad_x == 3
