"""What is seen at a place of a crop is what the image shows there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sia.runtimes.letterbox import FILL
from stages.ensemble.crops import CONTRAST, VIEW, crop_people, view_crops
from stages.ensemble.refinement_network import MARGIN


def with_spot(x: float, y: float, height: int = 200, width: int = 300) -> np.ndarray:
    """A grey image with a bright spot around a point."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2)) * 140
    return np.repeat((FILL + spot).astype(np.uint8)[..., None], 3, axis=2)


def spot_of(view: torch.Tensor) -> np.ndarray:
    """Where it is, relative to the box: (point - centre) / longer side."""
    weights = view.mean(0).clamp(min=0.2).sub(0.2).double().numpy()
    steps = ((np.arange(VIEW) + 0.5) / VIEW - 0.5) * MARGIN
    return np.array([(weights.sum(0) * steps).sum(), (weights.sum(1) * steps).sum()]) / weights.sum()


@pytest.mark.parametrize("box", [(80, 60, 140, 160), (20, 10, 260, 190), (100, 80, 130, 130)])
def test_a_spot_stays_in_its_place(box: tuple[int, int, int, int]) -> None:
    boxes = np.array([box], np.float64)
    view = view_crops(crop_people(with_spot(118.0, 101.0), boxes), boxes)
    side = max(box[2] - box[0], box[3] - box[1])
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    np.testing.assert_allclose(spot_of(view[0]), (np.array([118.0, 101.0]) - centre) / side, atol=0.01)


def test_another_box_in_a_turned_image() -> None:
    point, box, other = np.array([118.0, 101.0]), np.array([[80.0, 60, 140, 160]]), np.array([[74.0, 66, 138, 156]])
    angle, pivot = 0.4, np.array([110.0, 110.0])
    turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # mirrors, too
    view = view_crops(crop_people(with_spot(*point), box), other, turn[None], pivot[None])
    moved = turn @ (point - pivot) + pivot
    np.testing.assert_allclose(spot_of(view[0]), (moved - (106.0, 111.0)) / 90.0, atol=0.01)


def test_beyond_the_image_is_grey() -> None:
    image = np.full((60, 80, 3), 255, np.uint8)
    boxes = np.array([[-20, 10, 20, 50], [500, 500, 540, 600], [-1e7, -1e7, 1e7, 1e7], [5, 5, 5, 5]], np.float64)
    views = view_crops(crop_people(image, boxes), boxes)
    assert views.isfinite().all()
    assert views[0, :, 32, 4].abs().max() == 0 and views[0, 0, 32, 60] == pytest.approx((255 - FILL) / CONTRAST)
    assert views[1].abs().max() == 0


def test_nobody() -> None:
    assert crop_people(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4))).pixels.shape[0] == 0
