"""The keypoint reader finds what it looks for, near its person, in the coordinates of the model."""

from __future__ import annotations

import pytest
import torch

from sia.outputs import Places, Prediction
from sia.reader import FARTHEST, KEY_DIM, KeypointReader, place_target

K, DIM = 3, 16
EXTENT = torch.tensor([1.0, 0.5])


def people_at(poses: torch.Tensor, size: float = 0.4) -> Prediction:
    batch, people = poses.shape[:2]
    boxes = torch.cat([poses.mean(2), torch.full((batch, people, 2), size)], -1)
    return Prediction(torch.randn(batch, people), boxes, poses, torch.zeros(batch, people, K))


def make_reader(stem: int = 0) -> KeypointReader:
    torch.manual_seed(0)
    return KeypointReader(24, 24, stem, DIM, K)


def read(reader: KeypointReader, people: Prediction, h: int = 4, w: int = 8) -> tuple[Prediction, Places]:
    batch, count = people.scores.shape
    return reader(torch.randn(batch, count, 24), people, torch.randn(batch, 24, h, w), None, EXTENT)


def test_shapes_and_what_stays():
    people = people_at(torch.rand(2, 5, K, 2) / 2)
    placed, places = read(make_reader(), people)
    assert placed.poses.shape == (2, 5, K, 2)
    assert placed.confidences.shape == (2, 5, K)
    assert places.log_shares.shape == (2, 5, K, 8 * 16)
    torch.testing.assert_close(places.log_shares.exp().sum(-1), torch.ones(2, 5, K))
    assert placed.scores is people.scores
    assert placed.boxes is people.boxes


def test_cells_are_where_the_map_says():
    places = read(make_reader(), people_at(torch.rand(1, 1, K, 2)))[1]
    assert places.step.item() == pytest.approx(1 / 16)
    torch.testing.assert_close(places.cells[0], torch.tensor([0.5, 0.5]) / 16)
    torch.testing.assert_close(places.cells[-1], torch.tensor([15.5, 7.5]) / 16)
    torch.testing.assert_close(places.cells[16], torch.tensor([0.5, 1.5]) / 16)


def test_a_keypoint_goes_where_its_likeness_is():
    """The map shows a bright cell; the reader, made to look for brightness, puts every keypoint there."""
    reader, bright = make_reader(), torch.zeros(1, DIM, 8, 16)
    bright[0, :, 5, 9] = 1
    torch.nn.init.constant_(reader.key.weight, 1.0)
    torch.nn.init.constant_(reader.keypoints, 10.0)
    reader.mix = torch.nn.Identity()
    reader.map.forward = lambda patches, stem: bright  # type: ignore[method-assign]
    placed, _ = read(reader, people_at(torch.full((1, 2, K, 2), 0.4)))
    expected = torch.tensor([9.5, 5.5]) / 16
    torch.testing.assert_close(placed.poses, expected.expand(1, 2, K, 2), atol=1e-3, rtol=0)


def test_without_likeness_a_keypoint_stays_at_its_prior():
    reader = make_reader()
    torch.nn.init.zeros_(reader.key.weight)
    torch.nn.init.zeros_(reader.key.bias)
    torch.nn.init.constant_(reader.spread, -6.0)
    prior = torch.tensor([[[[0.3, 0.2], [0.6, 0.3], [0.45, 0.25]]]])
    placed, _ = read(reader, people_at(prior))
    torch.testing.assert_close(placed.poses, prior, atol=2e-2, rtol=0)


def test_offsets_move_by_cells():
    reader = make_reader()
    people = people_at(torch.rand(1, 2, K, 2) / 2)
    torch.manual_seed(1)
    before = read(reader, people)[0].poses
    torch.nn.init.constant_(reader.offsets.bias, 0.5)
    torch.manual_seed(1)
    torch.testing.assert_close(read(reader, people)[0].poses, before + 0.5 / 16)


def test_far_priors_stay_finite():
    reader, people = make_reader(), people_at(torch.full((1, 1, K, 2), 50.0), size=0.0)
    placed, places = read(reader, people)
    assert placed.poses.isfinite().all()
    assert places.log_shares.min() > -2 * FARTHEST - KEY_DIM


def test_targets_are_shares_around_the_label():
    places = read(make_reader(), people_at(torch.rand(1, 1, K, 2)))[1]
    points = torch.tensor([[9.5, 5.5], [4.0, 2.5]]) / 16
    target = place_target(points, places)
    torch.testing.assert_close(target.sum(-1), torch.ones(2))
    torch.testing.assert_close(target @ places.cells, points, atol=1e-3, rtol=0)
    assert target[0].argmax() == 5 * 16 + 9


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_positions_keep_their_precision_under_autocast(dtype):
    reader, people = make_reader(), people_at(torch.rand(1, 4, K, 2) / 2)
    with torch.autocast("cpu", dtype=dtype):
        placed, places = read(reader, people)
    assert placed.poses.dtype == places.log_shares.dtype == torch.float32
