"""Moves a pose by what the image shows around it: three looks, each from where the one before has led.

N: people, K: keypoints, C: channels, P: places of a window. Coordinates are relative to the person's box:
(point - centre) / longer side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import Residual, downsample
from sia.modules.roi_keypoint_head import MARGIN, STRIDE, heatmap_target
from stages.error_model.fitting import ALONE, BatchShare

SIDE = 64
"""Pixels along the square around a person."""

CELLS = SIDE // STRIDE
"""Cells of the feature map along it."""

LOOKS = 3
"""How often the same weights are applied."""

WINDOW = 5
"""Places along the window around a keypoint; they are `SPACING` apart."""

SPACING = MARGIN / CELLS
"""A cell of the feature map."""

QUERIES = 4
"""What each kind of keypoint asks of every place of its window; the first one, where in the square it is."""

PLACE_WEIGHT = 0.5
"""Of the heatmaps in the loss: without them, 1,000 steps on 4,009 people hardly used the image (1 AP, not 4)."""

FARTHEST = 2.0
"""Coordinates and confidences are cut here; in units of OKS, moves are cut at five times as much."""


class Corrected(NamedTuple):
    """N poses after each look.

    Attributes:
        stages: (N, K, 2) after each look; the last is the result.
        log_probabilities: (N, K, CELLS^2) where the image alone shows each keypoint: logarithms of shares, row by row.
    """

    stages: list[Tensor]
    log_probabilities: Tensor


class SqueezeExcitation(nn.Module):
    """Weighs channels by their means (Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, section 3)."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        narrow = max(channels // reduction, 4)
        self.gates = nn.Sequential(
            nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid()
        )  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        """(N, K, P, C) to the same shape; the means are over a person's keypoints and places."""
        gates: Tensor = self.gates(values.mean((1, 2)))
        return values * gates[:, None, None]


class ImageFeatures(nn.Module):
    """Strides 4, 8 and 16, and back to 4: what is near, and what it is part of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.to4 = nn.Sequential(downsample(3, width // 2), downsample(width // 2, width))
        self.to8 = nn.Sequential(downsample(width, wide), Residual(wide))
        self.to16 = nn.Sequential(downsample(wide, wide), Residual(wide))
        self.up = nn.Conv2d(wide, width, 1)
        self.at4 = Residual(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, SIDE, SIDE) -> (N, width, CELLS, CELLS)."""
        at4 = self.to4(pixels)
        at8 = self.to8(at4)
        at8 = at8 + F.interpolate(self.to16(at8), scale_factor=2.0)
        features: Tensor = self.at4(at4 + F.interpolate(self.up(at8), scale_factor=2.0))
        return features


class PoseRefinementNetwork(nn.Module):
    """Features of the image around each keypoint, and the whole pose, to a move of each keypoint.

    One set of weights is applied `LOOKS` times, and each time the features are those of where the keypoints now are
    (after Trigeorgis et al., Mnemonic Descent Method, CVPR 2016, section 3, without a memory). The squares are like
    those of `sia.modules.roi_keypoint_head`. The last layer starts at zero: untrained, it changes nothing.
    """

    offsets: Tensor

    def __init__(self, num_keypoints: int, width: int = 32, dim: int = 64) -> None:
        super().__init__()
        self.features = ImageFeatures(width)
        self.excitation = SqueezeExcitation(width)
        self.queries = nn.Parameter(torch.randn(num_keypoints, QUERIES, width) * width**-0.5)
        self.seen = nn.Linear(QUERIES * WINDOW**2 + width, dim)
        self.pose = nn.Sequential(
            nn.Linear(5 * num_keypoints, 4 * dim), nn.GELU(), nn.Linear(4 * dim, num_keypoints * dim)
        )
        self.body = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU())
        self.last = nn.Linear(2 * dim, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        steps = (torch.arange(WINDOW) - WINDOW // 2) * SPACING
        self.register_buffer("offsets", torch.cartesian_prod(steps, steps), persistent=False)

    def forward(self, pixels: Tensor, poses: Tensor, units: Tensor) -> Corrected:
        """Corrects poses.

        Args:
            pixels: (N, 3, SIDE, SIDE) float32, the square of `MARGIN` around each box; grey is 0.
            poses: (N, K, 3) float32: x, y, and a standardised confidence.
            units: (N, K) float32, each keypoint's standard deviation in OKS.

        Returns:
            The poses after each look. No gradient flows from one look into the one before.
        """
        values, stages = self.features(pixels), [poses[..., :2]]
        for _ in range(LOOKS):
            points = stages[-1].detach()
            stages.append(points + self._look(values, points, poses, units) * units[..., None])
        heat = torch.einsum("nchw,kc->nkhw", values, self.queries[:, 0])
        return Corrected(stages[1:], heat.flatten(2).log_softmax(-1))

    def _look(self, values: Tensor, points: Tensor, poses: Tensor, units: Tensor) -> Tensor:
        """(N, K, 2) the next move, in units of OKS."""
        windows = self.excitation(self._windows(values, points))
        answers = torch.einsum("nkpc,kqc->nkpq", windows, self.queries).flatten(2)
        here = windows[:, :, WINDOW**2 // 2]
        moved = ((points - poses[..., :2]) / units[..., None]).clamp(-5 * FARTHEST, 5 * FARTHEST)
        state = torch.cat([points.clamp(-FARTHEST, FARTHEST), poses[..., 2:], moved], dim=-1)
        pose = self.pose(state.flatten(1)).unflatten(1, (points.shape[1], -1))
        move: Tensor = self.last(self.body(self.seen(torch.cat([answers, here], dim=-1)) + pose))
        return move

    def _windows(self, values: Tensor, points: Tensor) -> Tensor:
        """(N, K, P, C) features around each keypoint; beyond the square 0."""
        places = points[:, :, None] + self.offsets
        sampled = F.grid_sample(values, places / (MARGIN / 2), align_corners=False)
        return rearrange(sampled, "n c k p -> n k p c")


def correction_loss(
    corrected: Corrected, targets: Tensor, units: Tensor, labelled: Tensor, share: BatchShare = ALONE
) -> Tensor:
    """Distances in units of OKS, summed over the looks, and a cross entropy of the heatmaps.

    Of a distance, nearly the square counts below one unit, and plainly itself above (Charbonnier et al., ICIP 1994).

    Args:
        corrected: the poses.
        targets: (N, K, 2) true keypoints; anything finite where not labelled.
        units: (N, K) each keypoint's standard deviation in OKS, in the same frame.
        labelled: (N, K) bool.
        share: of this rank in the batch.

    Returns:
        A scalar: this rank's part of the mean over labelled keypoints; for heatmaps over those in the square.
    """
    ways = torch.stack([points - targets for points in corrected.stages]) / units[..., None]
    distances = (((1 + ways.square().sum(-1)).sqrt() - 1) * labelled).sum() / share.sum(labelled.sum()).clamp(min=1)
    cells = (targets / MARGIN + 0.5) * CELLS
    inside = labelled & ((cells > 0) & (cells < CELLS)).all(-1)
    surprise = -(heatmap_target(cells, (CELLS, CELLS)) * corrected.log_probabilities).sum(-1)
    return distances + PLACE_WEIGHT * (surprise * inside).sum() / share.sum(inside.sum()).clamp(min=1)
