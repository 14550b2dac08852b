"""A prior over poses: a denoising variational autoencoder on coordinates alone, with a residual output.

N: poses, K: keypoints, L: latent size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

KL_WEIGHT = 1e-3
"""Weight of the KL divergence; the denoising, not the sampling, is what the prior is used for."""

FREE_NATS = 0.05
"""KL divergence per latent that costs nothing (Kingma et al., "Improved Variational Inference with Inverse
Autoregressive Flow", NeurIPS 2016, section C.8): keeps latents from dying in the first steps."""

CHARBONNIER = 0.05
"""Rounds the tip of the absolute error, in units (Charbonnier et al., ICIP 1994)."""

LOG_SPREAD_LIMIT = 4.0
"""Uncertainties stay within exp(-4) and exp(4) units."""


class Repaired(NamedTuple):
    """What the prior makes of N poses; coordinates in the frame of the input.

    Attributes:
        moves: (N, K, 2) what to add to the keypoints.
        log_spreads: (N, K) logarithm of the expected distance between the moved keypoint and the truth, in units.
        mean: (N, L) of the latents.
        log_variance: (N, L) of the latents.
    """

    moves: Tensor
    log_spreads: Tensor
    mean: Tensor
    log_variance: Tensor

    def divergence(self) -> Tensor:
        """(N, L) KL divergence of the latents from a standard normal, in nats."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class PosePrior(nn.Module):
    """3K -> latent -> 3K: x, y and confidence in, a move in x and y and an uncertainty out.

    The variational autoencoder (Kingma & Welling, ICLR 2014) is trained to undo errors (Im et al., "Denoising Criterion
    for Variational Auto-Encoding Framework", AAAI 2017). Its output is added to its input and its last layer starts at
    zero, so it changes nothing before it has learnt what to change: the latents need not carry the pose itself, which
    thirty-two numbers can't do to within a keypoint's own spread.
    """

    def __init__(self, num_keypoints: int, latent: int = 32, width: int = 256) -> None:
        super().__init__()
        size = 3 * num_keypoints
        self.encoder = _mlp(size, width, 2 * latent)
        self.decoder = _mlp(latent, width, size)
        last = self.decoder[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, poses: Tensor, units: Tensor) -> Repaired:
        """Repairs poses; while training the latents are sampled, otherwise they are their means.

        Args:
            poses: (N, K, 3) float32: x, y relative to the person's box, (keypoint - centre) / longer side, and a
                standardised confidence.
            units: (N, K) float32, each keypoint's standard deviation in OKS, in the same frame; moves are learnt in
                units, so that every keypoint counts as it does in OKS.
        """
        mean, log_variance = self.encoder(poses.clamp(-4, 4).flatten(1)).chunk(2, dim=-1)
        log_variance = log_variance.clamp(-10, 4)
        latent = mean
        if self.training:
            latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        decoded = self.decoder(latent).unflatten(1, poses.shape[1:])
        log_spreads = decoded[..., 2].clamp(-LOG_SPREAD_LIMIT, LOG_SPREAD_LIMIT)
        return Repaired(decoded[..., :2] * units[..., None], log_spreads, mean, log_variance)


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


def prior_loss(repaired: Repaired, poses: Tensor, targets: Tensor, units: Tensor, labelled: Tensor) -> Tensor:
    """Reconstruction of the labelled keypoints and a small KL divergence.

    Args:
        repaired: what the prior made of `poses`.
        poses: (N, K, 3) the input.
        targets: (N, K, 2) true keypoints in the same frame; anything finite where not labelled.
        units: (N, K) each keypoint's standard deviation in OKS, in the same frame.
        labelled: (N, K) bool.

    Returns:
        The loss, a scalar.
    """
    offsets = (poses[..., :2] + repaired.moves - targets) / units[..., None]
    each = negative_log_likelihood(offsets.square().sum(-1).clamp(min=1e-12).sqrt(), repaired.log_spreads)
    reconstruction = (each * labelled).sum() / labelled.sum().clamp(min=1)
    divergence = repaired.divergence().mean(0).clamp(min=FREE_NATS).sum()
    return reconstruction + KL_WEIGHT * divergence
