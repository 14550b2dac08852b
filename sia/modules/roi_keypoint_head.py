"""The RoI keypoint head: a RoI refinement at each person, always at the same scale, in a square of the person's own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.conv_pyramid import ConvPyramid
from sia.modules.layers import MLP, Residual, downsample

STRIDE = 4
"""Pixels of the square along a cell of the hourglass's heatmaps."""

MARGIN = 1.25
"""Side of the square over the longer side of the person's box (Xiao et al., Simple Baselines, section 3)."""

OVERSAMPLING = 2
"""Samples along each pixel of the square, averaged: large people are reduced without aliasing."""

SMALLEST_SIDE = 0.01
"""Floor of a square's side, in units of the longer input side."""

TARGET_SPREAD = {4: 0.7, 2: 1.0}
"""Standard deviation of the heatmap to be learned, in cells of so many pixels."""

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
        stride: pixels of the square along a cell.
    """

    log_probabilities: Tensor
    rois: RoIs
    stride: int = STRIDE

    @property
    def cells(self) -> int:
        """Cells along a square."""
        return math.isqrt(self.log_probabilities.shape[-1])


def rois_around(boxes: Tensor, image: Tensor, row: Tensor) -> RoIs:
    """boxes (n, 4) centre x, centre y, width, height -> squares with a margin; no gradient."""
    boxes = boxes.detach()
    side = (boxes[:, 2:].amax(-1) * MARGIN).clamp(min=SMALLEST_SIDE)
    return RoIs(image, row, boxes[:, :2], side)


class Hourglass(nn.Module):
    """Strides 4, 8 and 16, and back to 4 (after Newell et al., Stacked Hourglass Networks, section 3).

    Attributes:
        stride: pixels of the crop along a cell of the heatmaps.
    """

    stride = STRIDE

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

    def __init__(self, token_dim: int, num_keypoints: int, width: int, side: int, trunk: str = "") -> None:
        """Builds the RoI keypoint head.

        Args:
            token_dim: width of the detection tokens.
            num_keypoints: K.
            width: channels at stride 4.
            side: pixels along a square, whatever the person's size; a multiple of 16.
            trunk: timm's name of the convolutional network that reads the squares; "" for an hourglass.
        """
        super().__init__()
        self.side = side
        self.body = ConvPyramid(width, token_dim, trunk, side) if trunk else Hourglass(width, token_dim, side)
        self.finer = STRIDE // self.body.stride
        self.heat = nn.Conv2d(width, num_keypoints * self.finer**2, 1)
        self.sure = nn.Parameter(torch.ones(num_keypoints))
        self.prior = nn.Parameter(torch.ones(num_keypoints))
        self.score = MLP(3 * width + num_keypoints + 1, 2 * width, 1)
        nn.init.normal_(self.body.person.weight, std=0.01)

    def forward(
        self,
        images: Tensor,
        extent: Tensor,
        tokens: Tensor,
        scores: Tensor,
        rois: RoIs,
        flip_order: Tensor | None = None,
    ) -> Found:
        """Places the keypoints of n people.

        Args:
            images: (B, 3, H, W) normalised.
            extent: (2,) width and height of the images in units of the longer input side, padding included.
            tokens: (n, token_dim), normalised.
            scores: (n,) logits so far.
            rois: where to look.
            flip_order: (K,) int64, which keypoints trade places in a mirror image. With it the heatmaps are the mean
                of those of each square and of its mirror image (flip test).
        """
        pixels = sample(images, extent, rois, self.side).contiguous(memory_format=torch.channels_last)
        found = self.read(pixels, tokens, scores, rois)
        if flip_order is None:
            return found
        return self._mean(found, self.read(pixels.flip(-1), tokens, scores, rois), flip_order)

    def read(self, pixels: Tensor, tokens: Tensor, scores: Tensor, rois: RoIs) -> Found:
        """The same from the pixels (n, 3, side, side) of the squares."""
        fine, deep = self.body(pixels, tokens)
        heat = F.pixel_shuffle(self.heat(fine).float(), self.finer)
        heatmaps = Heatmaps(heat.flatten(2).log_softmax(-1), rois, self.body.stride)
        poses, confidences = self._keypoints(heatmaps)
        context = torch.cat([fine.mean((2, 3)), deep.mean((2, 3))], -1)
        seen = [context, confidences.detach(), scores.detach()[:, None]]
        revised = scores.detach() + self.score(torch.cat([part.to(fine.dtype) for part in seen], -1)).float()[:, 0]
        return Found(poses, confidences, revised, heatmaps, fine, context)

    def _keypoints(self, heatmaps: Heatmaps) -> tuple[Tensor, Tensor]:
        """Poses (n, K, 2) in units of the longer input side, and the logits (n, K) of their confidences."""
        points, mass = peaks(heatmaps.log_probabilities)
        confidences = self.prior + self.sure * mass.clamp(min=1e-4).log()
        return heatmaps.rois.outside(points / heatmaps.cells), confidences

    def _mean(self, found: Found, mirrored: Found, flip_order: Tensor) -> Found:
        """What was found in squares and in their mirror images; the features stay those of the squares."""
        heatmaps = found.heatmaps
        back = unflip(mirrored.heatmaps, flip_order)
        both = torch.logaddexp(heatmaps.log_probabilities, back) - math.log(2)
        heatmaps = heatmaps._replace(log_probabilities=both)
        poses, confidences = self._keypoints(heatmaps)
        scores = (found.scores + mirrored.scores) / 2
        return found._replace(poses=poses, confidences=confidences, scores=scores, heatmaps=heatmaps)


def unflip(heatmaps: Heatmaps, flip_order: Tensor) -> Tensor:
    """Heatmaps of mirror images -> log-probabilities (n, K, cells^2) of the squares."""
    grid = rearrange(heatmaps.log_probabilities, "n k (h w) -> n k h w", h=heatmaps.cells)
    return grid.flip(-1)[:, flip_order].flatten(2)


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
    cells = math.isqrt(log_probabilities.shape[-1])
    highest = log_probabilities.argmax(-1)
    around = torch.arange(-WINDOW, WINDOW + 1, device=highest.device)
    x, y = (highest % cells)[..., None] + around, highest.div(cells, rounding_mode="floor")[..., None] + around
    inside = ((y >= 0) & (y < cells))[..., :, None] & ((x >= 0) & (x < cells))[..., None, :]
    index = y.clamp(0, cells - 1)[..., :, None] * cells + x.clamp(0, cells - 1)[..., None, :]
    near = log_probabilities.gather(-1, index.flatten(-2)).exp().reshape(index.shape) * inside
    mass = near.sum((-2, -1))
    place = torch.stack([(near.sum(-2) * (x + 0.5)).sum(-1), (near.sum(-1) * (y + 0.5)).sum(-1)], dim=-1)
    return place / mass[..., None], mass


def heatmap_target(points: Tensor, cells: int, stride: int = STRIDE) -> Tensor:
    """points (..., 2) in cells of `stride` pixels -> (..., cells^2): fractions of the cells around, which sum to 1."""
    along_x, along_y = _target_axes(points, cells, stride)
    return (along_y[..., :, None] * along_x[..., None, :]).flatten(-2)


def _target_axes(points: Tensor, cells: int, stride: int) -> tuple[Tensor, Tensor]:
    """The fractions (..., cells) of the columns and of the rows, whose product is the target."""
    centres = torch.arange(cells, device=points.device, dtype=torch.float32) + 0.5
    spread = 2 * TARGET_SPREAD[stride] ** 2
    along_x, along_y = (-(points[..., None] - centres).square() / spread).softmax(-1).unbind(-2)
    return along_x, along_y


def cross_entropy(heatmaps: Heatmaps, points: Tensor) -> Tensor:
    """(n, K) between the heatmaps and the targets of points (n, K, 2), in fractions of the square's side."""
    along_x, along_y = _target_axes(points * heatmaps.cells, heatmaps.cells, heatmaps.stride)
    grid = rearrange(heatmaps.log_probabilities, "n k (h w) -> n k h w", h=heatmaps.cells)
    return -((grid @ along_x[..., None])[..., 0] * along_y).sum(-1)
