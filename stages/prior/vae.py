"""A prior over poses: a denoising variational autoencoder on coordinates alone, with a residual output.

N: poses, K: keypoints, L: latent size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.error_model.fitting import ALONE, BatchShare

KL_WEIGHT = 1e-3
"""Weight of the KL divergence; the denoising, not the sampling, is what the prior is used for."""

FREE_NATS = 0.05
"""KL divergence per latent that costs nothing (Kingma et al., "Improved Variational Inference with Inverse
Autoregressive Flow", NeurIPS 2016, section C.8): keeps latents from dying in the first steps."""

CHARBONNIER = 0.05
"""Rounds the tip of the absolute error, in units (Charbonnier et al., ICIP 1994)."""

LOG_SPREAD_LIMIT = 4.0
"""Uncertainties stay within exp(-4) and exp(4) units."""


class DenoisedPoses(NamedTuple):
    """What the prior makes of N poses; coordinates in the frame of the input.

    Attributes:
        decoded: (N, K, 2) the pose as the latents tell it, coarse.
        moves: (N, K, 2) what to add to the keypoints: a fraction of the way to the decoded pose.
        log_spreads: (N, K) logarithm of the scatter of the truth around the decoded pose, in units.
        mean: (N, L) of the latents.
        log_variance: (N, L) of the latents.
    """

    decoded: Tensor
    moves: Tensor
    log_spreads: Tensor
    mean: Tensor
    log_variance: Tensor

    def divergence(self) -> Tensor:
        """(N, L) KL divergence of the latents from a standard normal, in nats."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class PosePrior(nn.Module):
    """3K -> latent -> 3K: x, y and confidence in, x, y and uncertainty out.

    The variational autoencoder (Kingma & Welling, ICLR 2014) is trained to undo errors (Im et al., "Denoising Criterion
    for Variational Auto-Encoding Framework", AAAI 2017). Thirty-two numbers can't hold a pose to within a keypoint's
    own spread, so what they tell never replaces a keypoint: the output is residual. A keypoint goes a fraction of the
    way to where the latents see it, which depends on its confidence, on how far that is, and on how sure the latents
    are. All shares start at zero: untrained, the prior changes nothing.
    """

    def __init__(self, num_keypoints: int, latent: int = 32, width: int = 256) -> None:
        super().__init__()
        size = 3 * num_keypoints
        self.latent = latent
        self.encoder = _mlp(size, width, 2 * latent)
        self.decoder = _mlp(latent, width, size)
        self.share = nn.Parameter(torch.zeros(num_keypoints))
        self.doubt = nn.Parameter(torch.zeros(num_keypoints, 4))

    def forward(self, poses: Tensor, units: Tensor, noise: Tensor | None = None) -> DenoisedPoses:
        """Repairs poses; in training the latents are sampled, otherwise they are their means.

        Args:
            poses: (N, K, 3) float32: x, y relative to the person's box, (keypoint - centre) / longer side, and a
                standardised confidence.
            units: (N, K) float32, each keypoint's standard deviation in OKS, in the same frame.
            noise: (N, L) standard normal, to sample the latents with.
        """
        mean, log_variance = self.encoder(poses.clamp(-4, 4).flatten(1)).chunk(2, dim=-1)
        log_variance = log_variance.clamp(-10, 4)
        latent = mean if noise is None else mean + (0.5 * log_variance).exp() * noise
        decoded, log_spreads = self.decoder(latent).unflatten(1, poses.shape[1:]).split([2, 1], dim=-1)
        log_spreads = log_spreads.squeeze(-1).clamp(-LOG_SPREAD_LIMIT, LOG_SPREAD_LIMIT)
        way = decoded - poses[..., :2]
        far = (way / units[..., None]).square().sum(-1).log1p()
        reasons = torch.stack([torch.ones_like(far), poses[..., 2], far, log_spreads.detach()], dim=-1)
        shares = self.share * (reasons * self.doubt).sum(-1).sigmoid()
        return DenoisedPoses(decoded, shares[..., None] * way, log_spreads, mean, log_variance)


def _mlp(size: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out)
    )  # fmt: skip


def negative_log_likelihood(distances: Tensor, log_spreads: Tensor) -> Tensor:
    """Of distances in units under a Laplace distribution in the plane, up to a constant.

    The density falls with ``exp(-distance / spread)``, so its logarithm is -distance / spread - 2 log spread
    (Kendall & Gal, NeurIPS 2017, section 3, for the plane). Shapes are equal.
    """
    rounded = (distances.square() + CHARBONNIER**2).sqrt()
    return rounded * (-log_spreads).exp() + 2 * log_spreads


def anomaly_score(repaired: DenoisedPoses, poses: Tensor, units: Tensor) -> Tensor:
    """How implausible poses are: the negative evidence lower bound a keypoint, up to a constant.

    Args:
        repaired: what the prior made of `poses`.
        poses: (N, K, 3) its input.
        units: (N, K) as there.

    Returns:
        (N,) nats a keypoint.
    """
    distances = distances_between(poses[..., :2], repaired.decoded, units)
    divergence = repaired.divergence().sum(-1) / poses.shape[1]
    return negative_log_likelihood(distances, repaired.log_spreads).mean(-1) + KL_WEIGHT * divergence


def distances_between(points: Tensor, others: Tensor, units: Tensor) -> Tensor:
    """(N, K) in units, from points (N, K, 2) and units (N, K) of one frame."""
    squared = ((points - others) / units[..., None]).square().sum(-1)
    return squared.clamp(min=1e-12).sqrt()


def prior_loss(
    repaired: DenoisedPoses, poses: Tensor, targets: Tensor, units: Tensor, labelled: Tensor, share: BatchShare = ALONE
) -> Tensor:
    """Likelihood of the labelled keypoints, their distance after the moves, and a small KL divergence.

    Args:
        repaired: what the prior made of `poses`.
        poses: (N, K, 3) the input.
        targets: (N, K, 2) true keypoints in the same frame; anything finite where not labelled.
        units: (N, K) each keypoint's standard deviation in OKS, in the same frame.
        labelled: (N, K) bool.
        share: of this rank in the batch.

    Returns:
        This rank's part of the loss, a scalar.
    """
    decoded = negative_log_likelihood(distances_between(repaired.decoded, targets, units), repaired.log_spreads)
    moved = distances_between(poses[..., :2] + repaired.moves, targets, units)
    reconstruction = ((decoded + moved) * labelled).sum() / share.sum(labelled.sum()).clamp(min=1)
    divergence = share.sum(repaired.divergence().sum(0)) / share.sum(torch.tensor(len(poses)))
    return reconstruction + KL_WEIGHT * divergence.clamp(min=FREE_NATS).sum() / share.world_size
