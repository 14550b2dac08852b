"""The prior changes nothing before it has learnt, learns a plain rule, and takes no notice of what isn't labelled."""

from __future__ import annotations

import pytest
import torch

from stages.prior.vae import DenoisedPoses, PosePrior, anomaly_score, negative_log_likelihood, prior_loss


@pytest.mark.parametrize("keypoints", [1, 5, 17])
def test_untrained_it_changes_nothing(keypoints: int) -> None:
    prior = PosePrior(keypoints).eval()
    repaired = prior(torch.randn(3, keypoints, 3), torch.rand(3, keypoints) + 0.1)
    assert repaired.moves.shape == (3, keypoints, 2)
    assert not repaired.moves.any()
    assert repaired.mean.shape == (3, 32)


def test_divergence_is_that_of_two_normals() -> None:
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    repaired = DenoisedPoses(torch.zeros(4, 1, 2), torch.zeros(4, 1, 2), torch.zeros(4, 1), mean, log_variance)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(repaired.divergence(), expected)


def test_the_likelihood_is_best_at_half_the_mean_distance() -> None:
    """In the plane, distances under exp(-r / b) have the mean 2 b."""
    distances = torch.full((1,), 2.0)
    spreads = torch.linspace(-2, 2, 401)
    best = spreads[negative_log_likelihood(distances, spreads).argmin()]
    assert best == pytest.approx(0.0, abs=0.02)


def test_what_is_not_labelled_costs_nothing() -> None:
    torch.manual_seed(0)
    prior, poses, units = PosePrior(4), torch.randn(8, 4, 3), torch.full((8, 4), 0.1)
    labelled = torch.rand(8, 4) < 0.5
    repaired = prior(poses, units)
    targets = torch.randn(8, 4, 2)
    changed = torch.where(labelled[..., None], targets, targets + 100)
    assert prior_loss(repaired, poses, targets, units, labelled) == prior_loss(
        repaired, poses, changed, units, labelled
    )
    assert torch.isfinite(prior_loss(repaired, poses, targets, units, torch.zeros_like(labelled)))


def test_it_learns_that_one_keypoint_follows_the_others() -> None:
    """The last keypoint is the mean of the others, but is seen far away: the prior brings it back."""
    torch.manual_seed(0)
    prior, units = PosePrior(4, width=64), torch.full((256, 4), 0.1)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        points = torch.randn(256, 4, 2) * 0.3
        points[:, 3] = points[:, :3].mean(1)
        seen = points.clone()
        seen[:, 3] += torch.randn(256, 2) * 0.3
        return points, torch.cat([seen, torch.zeros(256, 4, 1)], dim=-1)

    for _ in range(300):
        truth, poses = batch()
        loss = prior_loss(prior(poses, units), poses, truth, units, torch.ones(256, 4, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    truth, poses = batch()
    repaired = prior.eval()(poses, units)
    moves = repaired.moves
    before = (poses[..., :2] - truth).norm(dim=-1).mean(0)
    after = (poses[..., :2] + moves - truth).norm(dim=-1).mean(0)
    assert after[3] < 0.5 * before[3]
    assert (after[:3] < 0.05).all()
    whole = torch.cat([truth, torch.zeros(256, 4, 1)], dim=-1)
    assert anomaly_score(prior(whole, units), whole, units).mean() < anomaly_score(repaired, poses, units).mean() - 0.1
