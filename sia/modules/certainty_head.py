"""The certainty head: what is said of each keypoint beside its place: whether it is visible, and how far off it may be.

It reads what the model has found, without a gradient: nothing else learns by it, so that it costs no accuracy.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import MLP, cell_centres
from sia.modules.roi_keypoint_head import Found
from sia.outputs import Certainty, Prediction

FACTS = 9
"""Numbers that `facts_of` gives for each keypoint."""

SIGMA_PRIOR = math.log(0.05)
"""Logarithm of a standard deviation to start with, in units of the longer side of the person's box."""

SIGMA_LIMIT = 6.0
"""Most that a logarithm of a standard deviation is moved by, which keeps it finite."""


class CertaintyHead(nn.Module):
    """Visibility and standard deviation of each keypoint: a guess from the token, revised where there is a crop.

    The shape of a heatmap says how sure its peak is, and the features under the keypoint what is seen there.
    """

    def __init__(self, token_dim: int, num_keypoints: int, width: int) -> None:
        """Builds the head.

        Args:
            token_dim: width of the detection tokens.
            num_keypoints: K.
            width: channels of the RoI keypoint head.
        """
        super().__init__()
        self.token = MLP(token_dim + num_keypoints, 2 * width, 2 * num_keypoints)
        self.norm = nn.LayerNorm(4 * width)
        self.features = nn.Linear(4 * width + FACTS, 2 * width)
        self.kinds = nn.Parameter(torch.randn(num_keypoints, 2 * width) * 0.02)
        self.revise = MLP(2 * width, 2 * width, 2)

    def guess(self, tokens: Tensor, people: Prediction) -> Certainty:
        """Of the keypoints that the tokens found.

        Args:
            tokens: (B, R, token_dim), normalised.
            people: (B, R).
        """
        known = torch.cat([tokens, people.confidences.to(tokens.dtype)], dim=-1).detach()
        visible, spread = rearrange(self.token(known).float(), "b r (k two) -> two b r k", two=2)
        side = people.boxes.detach()[..., 2:].amax(-1, keepdim=True).clamp(min=1e-4)
        return Certainty(visible, side.log() + SIGMA_PRIOR + spread.clamp(-SIGMA_LIMIT, SIGMA_LIMIT))

    def forward(self, guess: Certainty, found: Found, people: Prediction, length: float | Tensor) -> Certainty:
        """Of the result; people without a crop keep the guess.

        Args:
            guess: (B, R).
            found: of the RoI keypoint head, n crops.
            people: (B, R) the result, the refiner's where there is one.
            length: the longer side of the input in pixels.
        """
        at = (found.heatmaps.rois.image, found.heatmaps.rois.row)
        points = found.heatmaps.rois.inside(people.poses[at].detach())  # (n, K, 2) in units of the crop's sides
        features = torch.cat([_under(points, found.fine), _for_each(found.context, points.shape[1])], dim=-1).detach()
        facts = facts_of(found, points, people.confidences[at], people.scores[at], length).detach()
        read = self.features(torch.cat([self.norm(features), facts.to(features.dtype)], dim=-1)) + self.kinds
        visible, spread = self.revise(F.gelu(read)).float().unbind(-1)
        return Certainty(
            guess.visibilities.index_put(at, guess.visibilities[at].detach() + visible),
            guess.log_sigmas.index_put(at, guess.log_sigmas[at].detach() + spread.clamp(-SIGMA_LIMIT, SIGMA_LIMIT)),
        )


def facts_of(found: Found, points: Tensor, confidences: Tensor, scores: Tensor, length: float | Tensor) -> Tensor:
    """(n, K, FACTS) float32: shape of each heatmap, size of the crop, place in it, and what the model thinks of it.

    Args:
        found: n crops.
        points: (n, K, 2) in units of the crop's sides.
        confidences: (n, K) logits.
        scores: (n,) logits.
        length: the longer side of the input in pixels.
    """
    shares = found.heatmaps.log_probabilities
    probabilities = shares.exp()
    centres = cell_centres(found.heatmaps.cells, shares.device)
    mean = probabilities @ centres  # (n, K, 2)
    spread = (probabilities @ centres.square() - mean.square()).sum(-1).clamp(min=1e-4).sqrt()
    off = (points * found.heatmaps.span - mean).square().sum(-1).clamp(min=1e-4).sqrt()
    entropy = -(probabilities * shares).sum(-1)
    pixels = (found.heatmaps.rois.extent.amax(-1) * length).log() - math.log(100)
    person = torch.stack([pixels, scores.float()], dim=-1)
    own = torch.stack([shares.amax(-1), entropy, spread.log(), off.log(), confidences.float()], dim=-1)
    return torch.cat([own, points.clamp(-1, 2), _for_each(person, points.shape[1])], dim=-1)


def _under(points: Tensor, features: Tensor) -> Tensor:
    """points (n, K, 2) in units of the crop's sides, features (n, C, h, w) of it -> (n, K, C), 0 beyond it."""
    read = F.grid_sample(features.float(), 2 * points[:, :, None] - 1, align_corners=False)
    return rearrange(read, "n c k 1 -> n k c").to(features.dtype)


def _for_each(values: Tensor, count: int) -> Tensor:
    """(n, C) -> (n, count, C)."""
    return values[:, None].expand(-1, count, -1)
