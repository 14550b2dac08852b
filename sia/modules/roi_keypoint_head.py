"""The RoI keypoint head: a RoI refinement at each person, always at the same scale, in a square of the person's own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import MLP, downsample

STRIDE = 4
"""Pixels of the square along a cell of the heatmaps."""

MARGIN = 1.25
"""Side of the square over the longer side of the person's box (Xiao et al., Simple Baselines, section 3)."""

OVERSAMPLING = 2
"""Samples along each pixel of the square, averaged: large people are reduced without aliasing."""

SMALLEST_SIDE = 0.01
"""Floor of a square's side, in units of the longer input side."""

TARGET_SPREAD = 0.7
"""Standard deviation of the heatmap to be learned, in cells."""

WINDOW = 2
"""Cells around the highest one, on each side, whose mean is the keypoint: a far second peak doesn't move it."""


class RoIs(NamedTuple):
    """n squares in units of the longer input side.

    Attributes:
        image: (n,) int64, which image of the batch.
        row: (n,) int64, which person of the image.
        centre: (n, 2) x, y.
        side: (n,).
    """

    image: Tensor
    row: Tensor
    centre: Tensor
    side: Tensor

    def inside(self, points: Tensor) -> Tensor:
        """points (n, K, 2) in units of the longer input side -> fractions of the square's side, from its corner."""
        return (points - self.centre[:, None]) / self.side[:, None, None] + 0.5

    def outside(self, points: Tensor) -> Tensor:
        """Inverse of `inside`."""
        return (points - 0.5) * self.side[:, None, None] + self.centre[:, None]


class Heatmaps(NamedTuple):
    """Where keypoints were looked for.

    Attributes:
        log_probabilities: (n, K, cells^2) float32, logarithms of shares that sum to 1 over the cells, row by row.
        rois: n of them.
    """

    log_probabilities: Tensor
    rois: RoIs

    @property
    def cells(self) -> int:
        """Cells along a square."""
        return math.isqrt(self.log_probabilities.shape[-1])


def rois_around(boxes: Tensor, image: Tensor, row: Tensor) -> RoIs:
    """boxes (n, 4) centre x, centre y, width, height -> squares with a margin; no gradient."""
    boxes = boxes.detach()
    side = (boxes[:, 2:].amax(-1) * MARGIN).clamp(min=SMALLEST_SIDE)
    return RoIs(image, row, boxes[:, :2], side)


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width), _conv(width)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) to the same shape."""
        inner = F.silu(self.norm1(self.first(x)))
        return F.silu(x + self.norm2(self.second(inner)))


def _conv(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, bias=False)


class Hourglass(nn.Module):
    """Strides 4, 8 and 16, and back to 4 (after Newell et al., Stacked Hourglass Networks, section 3)."""

    def __init__(self, width: int, person: int, side: int) -> None:
        """Builds it.

        Args:
            width: channels at stride 4, twice as many below.
            person: width of the token that says who is meant.
            side: pixels along the square; the larger, the more units there are at stride 16, to see across it.
        """
        super().__init__()
        wide = 2 * width
        self.to4 = nn.Sequential(downsample(3, width // 2), downsample(width // 2, width), Residual(width))
        self.to8 = nn.Sequential(downsample(width, wide), Residual(wide))
        self.to16 = downsample(wide, wide)
        self.person = nn.Linear(person, wide)
        self.deep = nn.Sequential(Residual(wide), Residual(wide))
        self.across = nn.Sequential(*(Residual(wide) for _ in range(side // 16 - 4)))
        self.up8, self.at8 = nn.Conv2d(wide, wide, 1), Residual(wide)
        self.up4, self.at4 = nn.Conv2d(wide, width, 1), Residual(width)

    def forward(self, pixels: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (n, 3, h, w), person (n, D) -> features at stride 4 (n, width, h / 4, w / 4), and at 16."""
        at4 = self.to4(pixels)
        at8 = self.to8(at4)
        at16 = self.across(self.deep(self.to16(at8) + self.person(person)[..., None, None]))
        at8 = self.at8(at8 + _twice(self.up8(at16)))
        return self.at4(at4 + _twice(self.up4(at8))), at16


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Found(NamedTuple):
    """n people after the RoI keypoint head.

    Attributes:
        poses: (n, K, 2) in units of the longer input side.
        confidences: (n, K) logits.
        scores: (n,) logits of the expected OKS.
        heatmaps: the heatmaps.
        fine: (n, width, h, w) the features that the heatmaps were read from.
        context: (n, 3 * width) means over the square of these, and of those at stride 16.
    """

    poses: Tensor
    confidences: Tensor
    scores: Tensor
    heatmaps: Heatmaps
    fine: Tensor
    context: Tensor


class RoIKeypointHead(nn.Module):
    """Heatmaps of one person's keypoints from the pixels of the person's square.

    Why: a map of the whole image shows every person at another scale, and comparing places on it needs many images.
    In a square of their own all people look alike. The token says which of two people in one square is meant.
    """

    def __init__(self, token_dim: int, num_keypoints: int, width: int, side: int) -> None:
        """Builds the RoI keypoint head.

        Args:
            token_dim: width of the detection tokens.
            num_keypoints: K.
            width: channels at the heatmaps' resolution.
            side: pixels along a square, whatever the person's size; a multiple of 16.
        """
        super().__init__()
        self.side = side
        self.body = Hourglass(width, token_dim, side)
        self.heat = nn.Conv2d(width, num_keypoints, 1)
        self.sure = nn.Parameter(torch.ones(num_keypoints))
        self.prior = nn.Parameter(torch.ones(num_keypoints))
        self.score = MLP(3 * width + num_keypoints + 1, 2 * width, 1)
        nn.init.normal_(self.body.person.weight, std=0.01)

    def forward(self, images: Tensor, extent: Tensor, tokens: Tensor, scores: Tensor, rois: RoIs) -> Found:
        """Places the keypoints of n people.

        Args:
            images: (B, 3, H, W) normalised.
            extent: (2,) width and height of the images in units of the longer input side, padding included.
            tokens: (n, token_dim), normalised.
            scores: (n,) logits so far.
            rois: where to look.
        """
        pixels = sample(images, extent, rois, self.side).contiguous(memory_format=torch.channels_last)
        fine, deep = self.body(pixels, tokens)
        heatmaps = Heatmaps(self.heat(fine).float().flatten(2).log_softmax(-1), rois)
        points, mass = peaks(heatmaps.log_probabilities)
        confidences = self.prior + self.sure * mass.clamp(min=1e-4).log()
        context = torch.cat([fine.mean((2, 3)), deep.mean((2, 3))], -1)
        seen = [context, confidences.detach(), scores.detach()[:, None]]
        revised = scores.detach() + self.score(torch.cat([part.to(fine.dtype) for part in seen], -1)).float()[:, 0]
        return Found(rois.outside(points / heatmaps.cells), confidences, revised, heatmaps, fine, context)


def sample(images: Tensor, extent: Tensor, rois: RoIs, side: int) -> Tensor:
    """images (B, 3, H, W) -> (n, 3, side, side), the pixels of each square; beyond the image 0.

    The images are laid below one another, an edge of zeros around each, and all squares are read from that one image:
    no image is copied for each of its squares.
    """
    below = rearrange(F.pad(images.float(), [1, 1, 1, 1]), "b c h w -> 1 c (b h) w")
    x, y = sample_points(extent, rois, images.shape[-2], images.shape[-1], side)
    x, y = x * (2 / (below.shape[3] - 1)) - 1, y * (2 / (below.shape[2] - 1)) - 1
    even = torch.arange(2 * side, device=images.device) % 2 == 0
    pairs = torch.where(even, x.repeat_interleave(2, dim=-1)[:, None, :, None], y[:, :, None, :, None])  # x, y, x, ...
    found = F.grid_sample(below, pairs.reshape(1, -1, side, 2), align_corners=True)
    return rearrange(found, "1 c (n s h) w -> n c s h w", s=OVERSAMPLING**2, h=side).mean(2)


def sample_points(extent: Tensor, rois: RoIs, height: int, width: int, side: int) -> tuple[Tensor, Tensor]:
    """Columns and rows of the samples in the images below one another, (n, OVERSAMPLING, side) each.

    In pixels from the centre of the first pixel of the edge; what lies beyond an image is moved to its edge of zeros.
    """
    count = side * OVERSAMPLING
    steps = (torch.arange(count, device=extent.device, dtype=torch.float32) + 0.5) / count - 0.5
    steps = rearrange(steps, "(w s) -> s w", s=OVERSAMPLING)
    per_unit = torch.stack([width / extent[0], height / extent[1]])
    centre, length = rois.centre * per_unit + 0.5, rois.side[:, None] * per_unit
    x, y = (centre[:, axis, None, None] + steps * length[:, axis, None, None] for axis in (0, 1))
    return x.clamp(0, width + 1), y.clamp(0, height + 1) + (rois.image * (height + 2))[:, None, None]


def cell_centres(cells: int, device: torch.device) -> Tensor:
    """(cells^2, 2) x, y in cells, row by row."""
    steps = torch.arange(cells, device=device, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def peaks(log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """(n, K, cells^2) -> (n, K, 2), the mean place around the highest cell, in cells, and the share (n, K) there."""
    x, y = cell_centres(math.isqrt(log_probabilities.shape[-1]), log_probabilities.device).unbind(-1)
    highest = log_probabilities.argmax(-1, keepdim=True)
    close = ((x - x[highest]).abs() <= WINDOW) & ((y - y[highest]).abs() <= WINDOW)
    near = log_probabilities.exp() * close
    mass = near.sum(-1)
    return torch.stack([(near * x).sum(-1), (near * y).sum(-1)], dim=-1) / mass[..., None], mass


def heatmap_target(points: Tensor, cells: int) -> Tensor:
    """points (..., 2) in cells -> (..., cells^2): fractions of the cells around each, which sum to 1."""
    centres = cell_centres(cells, points.device)
    squared = rearrange(points, "... c -> ... 1 c").sub(centres).square().sum(-1)
    return (-squared / (2 * TARGET_SPREAD**2)).softmax(-1)
