"""The refinement network changes nothing before it has learnt, then finds what the image shows near a keypoint."""

from __future__ import annotations

import pytest
import torch

from sia.modules.roi_keypoint_head import MARGIN
from stages.ensemble import refinement_network as pose_corrector
from stages.ensemble.refinement_network import (
    CELLS,
    LOOKS,
    SIDE,
    Corrected,
    PoseRefinementNetwork,
    SqueezeExcitation,
    correction_loss,
)


def inputs(people: int, keypoints: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pixels, poses = torch.randn(people, 3, SIDE, SIDE), torch.randn(people, keypoints, 3) * 0.3
    return pixels, poses, torch.full((people, keypoints), 0.05)


def stirred(keypoints: int) -> PoseRefinementNetwork:
    """As if trained: no parameter is zero."""
    network = PoseRefinementNetwork(keypoints, width=16, dim=16)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("keypoints", [1, 5, 17])
def test_untrained_it_changes_nothing(keypoints: int) -> None:
    pixels, poses, units = inputs(3, keypoints)
    stages = PoseRefinementNetwork(keypoints)(pixels, poses, units).stages
    assert len(stages) == LOOKS == 3
    assert all(torch.equal(points, poses[..., :2]) for points in stages)


def test_the_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network, (pixels, poses, units) = stirred(5), inputs(4, 5)
    targets = poses[..., :2] + 0.1
    correction_loss(network(pixels, poses, units), targets, units, torch.ones(4, 5, dtype=torch.bool)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_all_looks_share_their_weights_but_not_what_they_see(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, given = stirred(5).eval(), inputs(2, 5)
    three = network(*given).stages
    monkeypatch.setattr(pose_corrector, "LOOKS", 1)
    assert {name: p.shape for name, p in network.named_parameters()} == {
        name: p.shape for name, p in PoseRefinementNetwork(5, width=16, dim=16).named_parameters()
    }
    assert torch.equal(network(*given).stages[0], three[0])
    first, second = three[0] - given[1][..., :2], three[1] - three[0]
    assert not torch.allclose(first, second, atol=1e-4)


def test_channels_are_weighed_by_their_means() -> None:
    """Where the second layer is zero all gates are a half; a bias opens or shuts channels."""
    gate = SqueezeExcitation(8)
    last = gate.gates[2]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    values = torch.randn(2, 5, 9, 8)
    torch.testing.assert_close(gate(values), values / 2)
    last.bias.data[0] = -50.0
    assert gate(values)[..., 0].abs().max() < 1e-6


def test_keypoints_far_outside_the_square_are_no_fault() -> None:
    torch.manual_seed(0)
    network, (pixels, poses, units) = stirred(5).eval(), inputs(2, 5)
    poses[0, 0, :2] = torch.tensor([1e6, -1e6])
    assert all(points.isfinite().all() for points in network(pixels, poses, units).stages)


def test_what_is_not_labelled_costs_nothing() -> None:
    torch.manual_seed(0)
    shares = torch.randn(4, 5, CELLS**2).log_softmax(-1)
    corrected, targets = Corrected([torch.randn(4, 5, 2) for _ in range(3)], shares), torch.randn(4, 5, 2) * 0.3
    labelled, units = torch.rand(4, 5) < 0.5, torch.full((4, 5), 0.1)
    changed = torch.where(labelled[..., None], targets, targets + 100)
    assert correction_loss(corrected, targets, units, labelled) == correction_loss(corrected, changed, units, labelled)
    assert correction_loss(corrected, targets, units, torch.zeros_like(labelled)) == 0


def test_the_loss_is_least_at_the_truth_and_beyond_the_square_only_distances_count() -> None:
    targets, units, labelled = torch.full((1, 1, 2), 5.0), torch.full((1, 1), 0.1), torch.ones(1, 1, dtype=torch.bool)
    flat = torch.zeros(1, 1, CELLS**2).log_softmax(-1)
    assert correction_loss(Corrected([targets] * 3, flat), targets, units, labelled) == 0
    far = correction_loss(Corrected([targets + 10.0] * 3, flat), targets, units, labelled)
    assert far == pytest.approx(3 * 100 * 2**0.5, rel=0.02)  # units, three looks


def dots(people: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares with a dot of its own colour at each of three keypoints, and where these are."""
    points = (torch.rand(people, 3, 2) - 0.5) * 0.8
    steps = ((torch.arange(SIDE) + 0.5) / SIDE - 0.5) * MARGIN
    apart = (points[..., 0, None, None] - steps) ** 2 + (points[..., 1, None, None] - steps[:, None]) ** 2
    return torch.exp(-apart / (2 * 0.04**2)) * 3 + 0.3 * torch.randn(people, 3, SIDE, SIDE), points


def test_it_learns_to_go_where_the_dots_are() -> None:
    torch.manual_seed(0)
    network, units = PoseRefinementNetwork(3, width=16, dim=32), torch.full((32, 3), 0.05)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

    def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels, points = dots(32)
        return pixels, torch.cat([points + 0.1 * torch.randn_like(points), torch.zeros(32, 3, 1)], -1), points

    for _ in range(120):
        pixels, poses, points = batch()
        loss = correction_loss(network(pixels, poses, units), points, units, torch.ones(32, 3, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pixels, poses, points = batch()
    network.eval()
    with torch.no_grad():
        stages = network(pixels, poses, units).stages
    errors = [(where - points).norm(dim=-1).mean() for where in (poses[..., :2], *stages)]
    assert errors[-1] < 0.6 * errors[0], errors
