"""The RoI keypoint head: a RoI refinement at each person, always at the same scale, in a crop of the person's own."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.conv_pyramid import ConvPyramid
from sia.modules.layers import MLP, Residual, downsample
from sia.modules.refiner import RoIRefiner

STRIDE = 4
"""Pixels of the crop along a cell of the hourglass's heatmaps."""

MARGIN = 1.25
"""A crop over the smallest of its shape around the person's box (Xiao et al., Simple Baselines, section 3)."""

OVERSAMPLING = 2
"""Samples along each pixel of the crop, averaged: large people are reduced without aliasing."""

SMALLEST_SIDE = 0.01
"""Floor of a crop's longer side, in units of the longer input side."""

TARGET_SPREAD = {4: 0.7, 2: 1.0}
"""Standard deviation of the heatmap to be learned, in cells of so many pixels."""

REACH = 0.37
"""Square root of a person's area, by which OKS measures, over the longer side of the crop: 0.41 on average in COCO."""

LEAST_SPREAD = 0.7
"""Smallest standard deviation of the kernel by which heatmaps are read, in cells: narrower ones see single cells."""

WINDOW = 2
"""Cells on each side of a keypoint's cell, whose share of the heatmap is the keypoint's confidence."""


class RoIs(NamedTuple):
    """n regions in units of the longer input side.

    Attributes:
        image: (n,) int64, which image of the batch.
        row: (n,) int64, which person of the image.
        centre: (n, 2) x, y.
        extent: (n, 2) width, height.
    """

    image: Tensor
    row: Tensor
    centre: Tensor
    extent: Tensor

    def inside(self, points: Tensor) -> Tensor:
        """points (n, K, 2) in units of the longer input side -> fractions of the region's sides, from its corner."""
        return (points - self.centre[:, None]) / self.extent[:, None] + 0.5

    def outside(self, points: Tensor) -> Tensor:
        """Inverse of `inside`."""
        return (points - 0.5) * self.extent[:, None] + self.centre[:, None]


class Heatmaps(NamedTuple):
    """Where keypoints were looked for.

    Attributes:
        log_probabilities: (n, K, rows * columns) float32, logarithms of shares of the cells, row by row.
        rois: n of them.
        cells: rows and columns of the grid.
        stride: pixels of the crop along a cell.
    """

    log_probabilities: Tensor
    rois: RoIs
    cells: tuple[int, int]
    stride: int = STRIDE

    @property
    def grid(self) -> Tensor:
        """(n, K, rows, columns) the same."""
        return rearrange(self.log_probabilities, "n k (h w) -> n k h w", h=self.cells[0])

    @property
    def span(self) -> Tensor:
        """(2,) columns and rows: cells in the fraction 1 of a crop's sides."""
        return self.log_probabilities.new_tensor(self.cells[::-1])


def crop_extent(extent: Tensor, size: tuple[int, int]) -> Tensor:
    """Width and height (n, 2) of boxes -> those of the crops of (height, width) pixels that show them with a margin."""
    shape = torch.tensor(size[::-1], device=extent.device) / max(size)
    return (extent / shape).amax(-1, keepdim=True) * MARGIN * shape


def rois_around(boxes: Tensor, image: Tensor, row: Tensor, size: tuple[int, int]) -> RoIs:
    """boxes (n, 4) centre x, centre y, width, height -> regions for crops of `size` pixels (H, W); no gradient."""
    boxes = boxes.detach()
    return RoIs(image, row, boxes[:, :2], crop_extent(boxes[:, 2:].clamp(min=SMALLEST_SIDE / MARGIN), size))


class Hourglass(nn.Module):
    """Strides 4, 8 and 16, and back to 4 (after Newell et al., Stacked Hourglass Networks, section 3).

    Attributes:
        stride: pixels of the crop along a cell of the heatmaps.
    """

    stride = STRIDE

    def __init__(self, width: int, person: int, size: tuple[int, int]) -> None:
        """Builds it.

        Args:
            width: channels at stride 4, twice as many below.
            person: width of the token that says who is meant.
            size: height and width of a crop in pixels; the larger, the more units there are at stride 16, to see
                across it.
        """
        super().__init__()
        wide = 2 * width
        self.to4 = nn.Sequential(downsample(3, width // 2), downsample(width // 2, width), Residual(width))
        self.to8 = nn.Sequential(downsample(width, wide), Residual(wide))
        self.to16 = downsample(wide, wide)
        self.person = nn.Linear(person, wide)
        self.deep = nn.Sequential(Residual(wide), Residual(wide))
        self.across = nn.Sequential(*(Residual(wide) for _ in range(max(size) // 16 - 4)))
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
        context: (n, 3 * width) means over the crop of these, and of those at stride 16.
    """

    poses: Tensor
    confidences: Tensor
    scores: Tensor
    heatmaps: Heatmaps
    fine: Tensor
    context: Tensor


class RoIKeypointHead(nn.Module):
    """Heatmaps of one person's keypoints from the pixels of the person's crop.

    Why: a map of the whole image shows every person at another scale, and comparing places on it needs many images.
    In a crop of their own all people look alike. The token says which of two people in one crop is meant.
    """

    reach: Tensor

    def __init__(self, token_dim: int, sigmas: Tensor, width: int, size: tuple[int, int], trunk: str = "") -> None:
        """Builds the RoI keypoint head.

        Args:
            token_dim: width of the detection tokens.
            sigmas: (K,) OKS constants.
            width: channels at stride 4.
            size: height and width of a crop in pixels, whatever the person's size; multiples of 16.
            trunk: timm's name of the convolutional network that reads the crops; "" for an hourglass.
        """
        super().__init__()
        self.size, num_keypoints = size, len(sigmas)
        self.register_buffer("reach", 2 * REACH * sigmas.float(), persistent=False)
        self.body = ConvPyramid(width, token_dim, trunk, size) if trunk else Hourglass(width, token_dim, size)
        self.finer = STRIDE // self.body.stride
        self.heat = nn.Conv2d(width, num_keypoints * self.finer**2, 1)
        self.sure = nn.Parameter(torch.ones(num_keypoints))
        self.prior = nn.Parameter(torch.ones(num_keypoints))
        self.score = MLP(3 * width + num_keypoints + 1, 2 * width, 1)
        self.refiner: RoIRefiner | None = None
        nn.init.normal_(self.body.person.weight, std=0.01)

    def add_refiner(self, dim: int, layers: int) -> None:
        """Adds a `RoIRefiner` of that width and so many layers, which changes nothing yet."""
        token_dim, width = self.body.person.in_features, self.heat.in_channels
        self.refiner = RoIRefiner(token_dim, width, dim, len(self.sure), layers, self.finer)

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
                of those of each crop and of its mirror image (flip test).
        """
        pixels = sample(images, extent, rois, self.size).contiguous(memory_format=torch.channels_last)
        found = self.read(pixels, tokens, scores, rois)
        if flip_order is None:
            return found
        return self._mean(found, self.read(pixels.flip(-1), tokens, scores, rois), flip_order)

    def read(self, pixels: Tensor, tokens: Tensor, scores: Tensor, rois: RoIs) -> Found:
        """The same from the pixels (n, 3, *size) of the crops."""
        fine, deep = self.body(pixels, tokens)
        heat = F.pixel_shuffle(self.heat(fine).float(), self.finer)
        heatmaps = self._heatmaps(heat, rois)
        poses, confidences = self._keypoints(heatmaps)
        context = torch.cat([fine.mean((2, 3)), deep.mean((2, 3))], -1)
        seen = [context, confidences.detach(), scores.detach()[:, None]]
        revised = scores.detach() + self.score(torch.cat([part.to(fine.dtype) for part in seen], -1)).float()[:, 0]
        if self.refiner is not None:
            change, better = self.refiner(tokens, fine, deep, rois.inside(poses), confidences)
            heatmaps, revised = self._heatmaps(heat + change, rois), revised + better
            poses, confidences = self._keypoints(heatmaps)
        return Found(poses, confidences, revised, heatmaps, fine, context)

    def _heatmaps(self, heat: Tensor, rois: RoIs) -> Heatmaps:
        """From logits (n, K, rows, columns)."""
        cells = (heat.shape[2], heat.shape[3])
        return Heatmaps(heat.flatten(2).log_softmax(-1), rois, cells, self.body.stride)

    def _keypoints(self, heatmaps: Heatmaps) -> tuple[Tensor, Tensor]:
        """Poses (n, K, 2) in units of the longer input side, and the logits (n, K) of their confidences."""
        points, share = best_places(heatmaps, self.reach)
        confidences = self.prior + self.sure * share.clamp(min=1e-4).log()
        return heatmaps.rois.outside(points / heatmaps.span), confidences

    def _mean(self, found: Found, mirrored: Found, flip_order: Tensor) -> Found:
        """What was found in crops and in their mirror images; the features stay those of the crops."""
        heatmaps = found.heatmaps
        back = mirrored.heatmaps.grid.flip(-1)[:, flip_order].flatten(2)
        both = torch.logaddexp(heatmaps.log_probabilities, back) - math.log(2)
        heatmaps = heatmaps._replace(log_probabilities=both)
        poses, confidences = self._keypoints(heatmaps)
        scores = (found.scores + mirrored.scores) / 2
        return found._replace(poses=poses, confidences=confidences, scores=scores, heatmaps=heatmaps)


def sample(images: Tensor, extent: Tensor, rois: RoIs, size: tuple[int, int]) -> Tensor:
    """images (B, 3, H, W) -> (n, 3, *size), the pixels of each crop; beyond the image 0.

    The images are laid below one another, an edge of zeros around each, and all crops are read from that one image:
    no image is copied for each of its crops.
    """
    below = rearrange(F.pad(images.float(), [1, 1, 1, 1]), "b c h w -> 1 c (b h) w")
    x, y = sample_points(extent, rois, images.shape[-2], images.shape[-1], size)
    x, y = x * (2 / (below.shape[3] - 1)) - 1, y * (2 / (below.shape[2] - 1)) - 1
    height, width = size
    x = x[:, None, :, None].expand(-1, OVERSAMPLING, -1, height, -1)
    y = y[:, :, None, :, None].expand(-1, -1, OVERSAMPLING, -1, width)
    found = F.grid_sample(below, torch.stack([x, y], dim=-1).reshape(1, -1, width, 2), align_corners=True)
    return rearrange(found, "1 c (n s h) w -> n c s h w", s=OVERSAMPLING**2, h=height).mean(2)


def sample_points(extent: Tensor, rois: RoIs, height: int, width: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Columns (n, OVERSAMPLING, W) and rows (n, OVERSAMPLING, H) of the samples in the images below one another.

    In pixels from the centre of the first pixel of the edge; what lies beyond an image is moved to its edge of zeros.
    """
    per_unit = torch.stack([width / extent[0], height / extent[1]])
    centre, length = rois.centre * per_unit + 0.5, rois.extent * per_unit
    x, y = (
        centre[:, axis, None, None] + _steps(size[1 - axis], extent.device) * length[:, axis, None, None]
        for axis in (0, 1)
    )
    return x.clamp(0, width + 1), y.clamp(0, height + 1) + (rois.image * (height + 2))[:, None, None]


def _steps(pixels: int, device: torch.device) -> Tensor:
    """(OVERSAMPLING, pixels) places of the samples along a crop, from -0.5 to 0.5."""
    count = pixels * OVERSAMPLING
    steps = (torch.arange(count, device=device, dtype=torch.float32) + 0.5) / count - 0.5
    return rearrange(steps, "(w s) -> s w", s=OVERSAMPLING).contiguous()  # else the crops' samples have to be copied


def best_places(heatmaps: Heatmaps, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Where the expected OKS is greatest.

    A keypoint's term of OKS falls off with distance as a Gaussian, so what to expect of a place is the heatmap under
    that kernel: a broad hill counts for more than a lonely peak. Between the cells the top is that of parabolas through
    the logarithm (after Zhang et al., Distribution-Aware Coordinate Representation, 2020, section 3.2).

    Args:
        heatmaps: n crops.
        reach: (K,) standard deviations of the kernels in fractions of the longer side of a crop.

    Returns:
        The place (n, K, 2), x, y in cells, and the share (n, K) of the heatmap within `WINDOW` of its cell.
    """
    rows, columns = heatmaps.cells
    shares, spread = heatmaps.grid.exp(), (reach * max(heatmaps.cells)).clamp(min=LEAST_SPREAD)
    with _in_float32(reach.device.type):
        expected = (_kernels(rows, spread) @ shares @ _kernels(columns, spread)).flatten(-2)
    highest = expected.argmax(-1)
    x, y = highest % columns, highest.div(columns, rounding_mode="floor")
    inner_x, inner_y = x.clamp(1, columns - 2), y.clamp(1, rows - 2)
    at = inner_y * columns + inner_x
    around = torch.stack([at, at - 1, at + 1, at - columns, at + columns], -1)
    middle, left, right, above, below = expected.gather(-1, around).clamp(min=1e-12).log().unbind(-1)
    place = torch.stack([inner_x + _top(left, middle, right), inner_y + _top(above, middle, below)], dim=-1) + 0.5
    near = _within(rows, y)[..., :, None] & _within(columns, x)[..., None, :]
    return place, (shares * near).sum((-2, -1))


def _in_float32(device: str) -> contextlib.AbstractContextManager[object]:
    """No autocast, where the type of device has any."""
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available else contextlib.nullcontext()


def _within(cells: int, at: Tensor) -> Tensor:
    """(..., cells) bool, the cells along one axis that are within `WINDOW` of a cell (...)."""
    return (torch.arange(cells, device=at.device) - at[..., None]).abs() <= WINDOW


def _kernels(cells: int, spread: Tensor) -> Tensor:
    """(K, cells, cells) Gaussians of the distance between two cells, 1 where it is 0; spread (K,) in cells.

    They end at e^-20: products with smaller ones are denormal numbers, which make a CPU ten times slower.
    """
    at = torch.arange(cells, device=spread.device, dtype=torch.float32)
    return (-(at[:, None] - at).square() / (2 * spread[:, None, None].square())).clamp(min=-20).exp()


def _top(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Where a parabola through the values at -1, 0 and 1 is highest, -1 to 1."""
    return ((after - before) / 2 / (2 * middle - before - after).clamp(min=1e-3)).clamp(-1, 1)


def heatmap_target(points: Tensor, cells: tuple[int, int], stride: int = STRIDE) -> Tensor:
    """points (..., 2) in cells of `stride` pixels -> (..., rows * columns): shares of the cells, which sum to 1."""
    along_x, along_y = _target_axes(points, cells, stride)
    return (along_y[..., :, None] * along_x[..., None, :]).flatten(-2)


def _target_axes(points: Tensor, cells: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """The shares (..., columns) and (..., rows), whose product is the target."""
    spread = 2 * TARGET_SPREAD[stride] ** 2
    along_x, along_y = (
        (-(points[..., axis, None] - torch.arange(cells[1 - axis], device=points.device) - 0.5).square() / spread)
        for axis in (0, 1)
    )
    return along_x.softmax(-1), along_y.softmax(-1)


def cross_entropy(heatmaps: Heatmaps, points: Tensor) -> Tensor:
    """(n, K) between the heatmaps and the targets of points (n, K, 2), in fractions of the crop's sides."""
    along_x, along_y = _target_axes(points * heatmaps.span, heatmaps.cells, heatmaps.stride)
    return -((heatmaps.grid @ along_x[..., None])[..., 0] * along_y).sum(-1)
