"""The refiner reads the map where it says it does, moves keypoints only, and needs no stem."""

from __future__ import annotations

import pytest
import torch

from sia.modules.map_refiner import FineMap, MapRefiner, RefinerLayer, SampledAttention
from sia.outputs import Prediction

DIM, K = 32, 3


def people_at(poses: torch.Tensor, size: float = 0.4) -> Prediction:
    batch, people = poses.shape[:2]
    centre = poses.mean(2)
    boxes = torch.cat([centre, torch.full((batch, people, 2), size)], -1)
    return Prediction(torch.zeros(batch, people), boxes, poses, torch.zeros(batch, people, poses.shape[2]))


def ramp(width: int, height: int, extent: torch.Tensor, dim: int = DIM) -> torch.Tensor:
    """A map whose even channels hold x and odd channels y of each cell's centre, in units of the longer side."""
    x = (torch.arange(width) + 0.5) / width * extent[0]
    y = (torch.arange(height) + 0.5) / height * extent[1]
    both = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    return both.repeat(dim // 2, 1, 1)[None]


def reader() -> SampledAttention:
    attention = SampledAttention(DIM)
    torch.nn.init.eye_(attention.out.weight)
    torch.nn.init.zeros_(attention.out.bias)
    return attention


def test_it_samples_at_the_keypoint_in_the_coordinates_of_the_model():
    attention, extent = reader(), torch.tensor([1.0, 0.5])
    torch.nn.init.zeros_(attention.offsets.bias)
    keypoints = torch.tensor([[[[0.3, 0.1], [0.7, 0.25], [0.5, 0.4]], [[0.1, 0.2], [0.9, 0.4], [0.25, 0.06]]]])
    sampled = attention(torch.randn(1, 2, K, DIM), ramp(16, 8, extent), keypoints, torch.ones(1, 2), extent)
    assert sampled.shape == (1, 2, K, DIM)
    torch.testing.assert_close(sampled.unflatten(-1, (-1, 2)), keypoints[..., None, :].expand(-1, -1, -1, 16, -1))


def test_offsets_are_shares_of_the_person():
    attention, extent = reader(), torch.tensor([1.0, 1.0])
    with torch.no_grad():
        attention.offsets.bias.view(-1, 2).copy_(
            torch.tensor([0.5, -0.25]).expand(attention.offsets.out_features // 2, 2)
        )
    keypoints = torch.full((1, 2, K, 2), 0.5)
    sizes = torch.tensor([[0.2, 0.4]])
    sampled = attention(torch.randn(1, 2, K, DIM), ramp(16, 16, extent), keypoints, sizes, extent)
    expected = 0.5 + sizes[..., None] * torch.tensor([0.5, -0.25])
    torch.testing.assert_close(sampled[:, :, 0, :2], expected)


def test_beyond_the_map_there_is_nothing():
    attention, extent = reader(), torch.tensor([1.0, 1.0])
    far = torch.full((1, 1, K, 2), 30.0)
    assert not attention(torch.randn(1, 1, K, DIM), ramp(8, 8, extent), far, torch.ones(1, 1), extent).any()


def test_a_layer_moves_keypoints_by_shares_of_the_person_and_leaves_boxes_and_scores():
    torch.manual_seed(0)
    layer, before = RefinerLayer(DIM), people_at(torch.rand(2, 3, K, 2))
    with torch.no_grad():
        layer.move[2].weight.zero_()
        layer.move[2].bias.copy_(torch.tensor([0.5, -0.5, 2.0]))
    extent = torch.tensor([1.0, 1.0])
    _, after = layer(torch.randn(2, 3, K, DIM), torch.randn(2, DIM, 8, 8), before, extent)
    torch.testing.assert_close(after.poses - before.poses, torch.tensor([0.2, -0.2]).expand(2, 3, K, 2))
    torch.testing.assert_close(after.confidences, torch.full((2, 3, K), 2.0))
    assert after.boxes is before.boxes
    assert after.scores is before.scores


def make_refiner(stem: int = 8, layers: int = 2) -> MapRefiner:
    torch.manual_seed(0)
    return MapRefiner(token_dim=20, map_dim=24, stem_dim=stem, dim=DIM, num_keypoints=K, layers=layers)


def run(refiner: MapRefiner, people: Prediction, stem: torch.Tensor | None) -> list[Prediction]:
    batch, count = people.scores.shape
    torch.manual_seed(1)
    tokens, patches = torch.randn(batch, count, 20), torch.randn(batch, 24, 4, 6)
    return refiner(tokens, people, patches, stem, torch.tensor([1.0, 4 / 6]))


@pytest.mark.parametrize("stem", [0, 8])
def test_one_result_a_layer_with_and_without_a_stem(stem):
    people = people_at(torch.rand(2, 3, K, 2))
    stages = run(make_refiner(stem, layers=3), people, torch.randn(2, stem, 8, 12) if stem else None)
    assert len(stages) == 3
    for stage in stages:
        assert [tuple(part.shape) for part in stage] == [tuple(part.shape) for part in people]
        assert torch.equal(stage.boxes, people.boxes)


def test_a_new_refiner_leaves_people_nearly_where_they_are():
    people = people_at(torch.rand(2, 3, K, 2))
    last = run(make_refiner(), people, torch.randn(2, 8, 8, 12))[-1]
    torch.testing.assert_close(last.poses, people.poses, atol=1e-2, rtol=0)
    torch.testing.assert_close(last.scores, people.scores, atol=2e-2, rtol=0)


def test_people_do_not_see_each_other():
    people = people_at(torch.rand(1, 3, K, 2))
    refiner, stem = make_refiner(), torch.randn(1, 8, 8, 12)
    tokens, patches = torch.randn(1, 3, 20), torch.randn(1, 24, 4, 6)
    extent = torch.tensor([1.0, 4 / 6])
    together = refiner(tokens, people, patches, stem, extent)[-1]
    alone = refiner(tokens[:, 1:2], people.select(torch.tensor([[1]])), patches, stem, extent)[-1]
    torch.testing.assert_close(alone.poses, together.poses[:, 1:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.scores, together.scores[:, 1:2], atol=1e-5, rtol=1e-5)


def test_no_gradient_flows_back_into_the_first_candidates():
    people = Prediction(*(part.requires_grad_() for part in people_at(torch.rand(1, 2, K, 2))))
    stage = run(make_refiner(layers=2), people, torch.randn(1, 8, 8, 12))[-1]
    (stage.scores.sum() + stage.poses.sum() + stage.confidences.sum()).backward()
    assert all(part.grad is None or not part.grad.any() for part in people)


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_odd_people_stay_finite(value):
    people = people_at(torch.full((1, 2, K, 2), 0.5), size=value)
    last = run(make_refiner(), people, torch.randn(1, 8, 8, 12))[-1]
    assert all(part.isfinite().all() for part in last)


@pytest.mark.parametrize("stem_dim", [0, 8])
def test_it_has_twice_the_resolution_of_the_patches(stem_dim):
    stem = torch.randn(1, stem_dim, 8, 12) if stem_dim else None
    assert FineMap(24, stem_dim, 16)(torch.randn(1, 24, 4, 6), stem).shape == (1, 16, 8, 12)


def test_the_stem_is_read_where_there_is_one():
    stem = torch.randn(1, 6, 8, 16, requires_grad=True)
    FineMap(24, 6, 16)(torch.randn(1, 24, 4, 8), stem).sum().backward()
    assert stem.grad is not None
    assert stem.grad.any()
