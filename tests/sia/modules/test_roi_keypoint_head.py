"""The RoI keypoint head looks where it is told to, at one scale, and speaks the coordinates of the model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sia.modules.roi_keypoint_head import (
    LEAST_SPREAD,
    REACH,
    Heatmaps,
    RoIKeypointHead,
    RoIs,
    _kernels,
    best_places,
    heatmap_target,
    rois_around,
    sample,
)

EXTENT = torch.tensor([1.0, 0.5])
SIZE, CELLS = (64, 48), (16, 12)
"""Height and width of crops, and rows and columns of their heatmaps."""

SIGMAS = torch.tensor([0.03, 0.08, 0.08])
"""OKS constants of three keypoints; the last two trade places in a mirror image."""


def crops_at(*rows: tuple[int, float, float, float]) -> RoIs:
    """Rows of image, centre x, centre y, height; three quarters of it wide, as `SIZE` is."""
    image, x, y, height = (torch.tensor(column) for column in zip(*rows, strict=True))
    return RoIs(image, torch.zeros_like(image), torch.stack([x, y], -1), torch.stack([0.75 * height, height], -1))


def heatmaps_of(shares: Tensor) -> Heatmaps:
    """Of one crop; shares (1, K, rows * columns)."""
    return Heatmaps(shares.clamp(min=1e-12).log(), crops_at((0, 0.5, 0.25, 0.2)), CELLS)


def ramps(height: int = 100, width: int = 200) -> Tensor:
    """An image whose channels are x and y of each pixel's centre, in units of the width, and 1."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / width, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)])[None]


@pytest.mark.parametrize(
    ("box", "size", "extent"),
    [
        ((0.1, 0.2), (96, 96), (0.25, 0.25)),
        ((0.1, 0.2), (96, 64), (0.25 * 2 / 3, 0.25)),  # its height fills the crop
        ((0.2, 0.2), (96, 64), (0.25, 0.375)),  # its width does
        ((0.1, 0.2), (64, 128), (0.5, 0.25)),
        ((0.0, 0.0), (64, 32), (0.01, 0.02)),  # at least a hundredth of the input
    ],
)
def test_a_crop_surrounds_its_box(box: tuple[float, float], size: tuple[int, int], extent: tuple[float, float]):
    rois = rois_around(torch.tensor([[0.4, 0.3, *box]]), torch.tensor([0]), torch.tensor([3]), size)
    torch.testing.assert_close(rois.extent, torch.tensor([extent]))
    torch.testing.assert_close(rois.centre, torch.tensor([[0.4, 0.3]]))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.0), st.floats(0.0, 0.5), st.floats(0.02, 1.5))
def test_inside_and_outside_are_inverse(x: float, y: float, side: float):
    rois, points = crops_at((0, x, y, side)), torch.rand(1, 5, 2) * 3 - 1
    torch.testing.assert_close(rois.outside(rois.inside(points)), points, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 0.7), st.floats(0.2, 0.3), st.floats(0.05, 0.35), st.sampled_from((32, 64, 96)))
def test_samples_are_the_pixels_of_the_crop(x: float, y: float, height: float, rows: int):
    """The image holds its own coordinates, so each sample tells where it was taken."""
    size = (rows, 3 * rows // 4)
    found = sample(ramps(), EXTENT, crops_at((0, x, y, height)), size)[0]
    assert found.shape == (3, *size)
    down, across = ((torch.arange(count) + 0.5) / count - 0.5 for count in size)
    torch.testing.assert_close(found[0], (x + across * 0.75 * height).expand(size), atol=2e-4, rtol=0)
    torch.testing.assert_close(found[1], (y + down * height)[:, None].expand(size), atol=2e-4, rtol=0)


def test_each_crop_is_of_its_own_image_and_nothing_lies_beyond():
    images = torch.cat([ramps(), 5 * ramps()])
    found = sample(images, EXTENT, crops_at((1, 0.5, 0.25, 0.1), (0, 0.5, 0.25, 0.1), (0, 2.0, 2.0, 0.1)), SIZE)
    torch.testing.assert_close(found[0], 5 * found[1])
    assert not found[2].any()


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.2, 1.2), st.floats(-0.2, 0.7), st.floats(0.02, 1.5))
def test_a_crop_over_the_edge_sees_nothing_of_the_image_below(x: float, y: float, side: float):
    images = torch.cat([torch.zeros_like(ramps()), ramps(), torch.full_like(ramps(), 1e6)])
    among, alone = (
        sample(images, EXTENT, crops_at((1, x, y, side)), SIZE),
        sample(ramps(), EXTENT, crops_at((0, x, y, side)), SIZE),
    )
    torch.testing.assert_close(among, alone, atol=1e-4, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.floats(2.5, CELLS[1] - 2.5), st.floats(2.5, CELLS[0] - 2.5))
def test_a_peak_is_found_to_a_fraction_of_a_cell(x: float, y: float):
    points, share = best_places(heatmaps_of(heatmap_target(torch.tensor([[[x, y]]]), CELLS)), torch.tensor([0.3]))
    torch.testing.assert_close(points[0, 0], torch.tensor([x, y]), atol=0.05, rtol=0)
    assert float(share[0, 0]) > 0.99


def test_a_second_peak_far_away_does_not_move_the_keypoint():
    near, far = heatmap_target(torch.tensor([[[4.5, 4.5]], [[9.5, 12.5]]]), CELLS)
    points, share = best_places(heatmaps_of((0.7 * near + 0.3 * far)[None]), torch.tensor([0.1]))
    torch.testing.assert_close(points[0, 0], torch.tensor([4.5, 4.5]), atol=0.01, rtol=0)
    assert float(share[0, 0]) == pytest.approx(0.7, abs=0.01)


def test_a_broad_hill_counts_for_more_than_a_lonely_peak():
    """Where OKS forgives as much; a keypoint that has to be placed exactly is at the peak."""
    shares = torch.zeros(CELLS)
    shares[3, 9], shares[9:14, 2:7] = 0.3, 0.7 / 25
    points, _ = best_places(heatmaps_of(shares.flatten().expand(1, 2, -1)), torch.tensor([0.0, 0.2]))
    torch.testing.assert_close(points[0], torch.tensor([[9.5, 3.5], [4.5, 11.5]]), atol=0.1, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_no_place_has_a_greater_expected_oks(seed: int):
    """Against all places, a twentieth of a cell apart."""
    noise = torch.randn(1, 3, *CELLS, generator=torch.Generator().manual_seed(seed))
    shares = (4 * torch.nn.functional.avg_pool2d(noise, 3, 1, 1)).flatten(2).softmax(-1)
    reach = 2 * REACH * SIGMAS
    points, _ = best_places(heatmaps_of(shares), reach)
    spread = (reach * CELLS[0]).clamp(min=LEAST_SPREAD)[:, None]

    def falloff(places: Tensor, cells: int) -> Tensor:
        """places (K, n) along one axis -> (K, n, cells)"""
        return (-(places[..., None] - torch.arange(cells) - 0.5).square() / (2 * spread[..., None].square())).exp()

    def oks(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("krc,kyr,kxc->kyx", shares[0].view(3, *CELLS), falloff(y, CELLS[0]), falloff(x, CELLS[1]))

    fine_x, fine_y = (torch.arange(0, cells, 0.05).expand(3, -1) for cells in CELLS[::-1])
    greatest = oks(fine_x, fine_y).flatten(1).amax(1)
    assert (oks(points[0, :, :1], points[0, :, 1:]).flatten() > 0.98 * greatest).all()


@pytest.mark.parametrize("size", [SIZE, (128, 96)])
def test_people_of_one_look_and_different_sizes_are_read_alike(size: tuple[int, int]):
    """The same image at twice the size, in a crop of twice the size: the same heatmap."""
    torch.manual_seed(0)
    roi_head = RoIKeypointHead(8, SIGMAS, 8, size).eval()
    small = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 32), scale_factor=4, mode="bicubic")
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    canvas = torch.zeros(2, 3, 128, 256)
    canvas[0, :, :64, :128], canvas[1] = small[0], large[0]
    rois = crops_at((0, 0.25, 0.125, 0.25), (1, 0.5, 0.25, 0.5))
    found = roi_head(canvas, EXTENT, torch.zeros(2, 8), torch.zeros(2), rois)
    shares = found.heatmaps.log_probabilities.exp()
    torch.testing.assert_close(shares[0], shares[1], atol=2e-3, rtol=0.1)
    relative = rois.inside(found.poses)
    torch.testing.assert_close(relative[0], relative[1], atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), SIZE, (128, 96)])
def test_a_keypoint_is_where_its_heatmap_says(size: tuple[int, int]):
    """Whatever the number of cells: the poses agree with the heatmaps they were read from."""
    roi_head = RoIKeypointHead(8, SIGMAS, 8, size).eval()
    rois = crops_at((0, 0.4, 0.2, 0.3))
    found = roi_head(ramps(), EXTENT, torch.rand(1, 8), torch.zeros(1), rois)
    rows, columns = size[0] // 4, size[1] // 4
    assert found.heatmaps.cells == (rows, columns)
    assert found.heatmaps.grid.shape == (1, 3, rows, columns)
    places, share = best_places(found.heatmaps, 2 * REACH * SIGMAS)
    torch.testing.assert_close(rois.inside(found.poses) * torch.tensor([columns, rows]), places)
    torch.testing.assert_close(found.confidences, 1 + share.log())


@pytest.mark.parametrize("size", [SIZE, (96, 64)])
def test_gradients_reach_every_parameter(size: tuple[int, int]):
    roi_head = RoIKeypointHead(8, SIGMAS, 8, size)
    torch.nn.init.normal_(roi_head.score[2].weight)
    for residual in (module for module in roi_head.modules() if hasattr(module, "norm2")):
        torch.nn.init.ones_(residual.norm2.weight)
    found = roi_head(
        ramps(), EXTENT, torch.rand(2, 8), torch.zeros(2), crops_at((0, 0.3, 0.2, 0.2), (0, 0.6, 0.3, 0.3))
    )
    (
        found.scores.sum()
        + found.confidences.sum()
        + found.poses.sum()
        + found.heatmaps.log_probabilities[..., 5].sum()
    ).backward()
    assert all(p.grad is not None and p.grad.any() for p in roi_head.parameters())


ORDER = torch.tensor([0, 2, 1])


def sharp_head() -> RoIKeypointHead:
    """Its heatmaps have clear peaks, so that rounding moves none of them."""
    torch.manual_seed(0)
    roi_head = RoIKeypointHead(8, SIGMAS, 8, SIZE).eval()
    for weight in (roi_head.heat.weight, roi_head.score[2].weight):
        torch.nn.init.normal_(weight)
    return roi_head


@torch.inference_mode()
def test_a_flip_test_finds_the_same_in_the_mirror_image():
    """x is the width less x, and left and right keypoints trade places; the crop alone doesn't keep to that."""
    roi_head, images = sharp_head(), torch.rand(1, 3, 100, 200)
    rois = crops_at((0, 0.4, 0.25, 0.3), (0, 0.9, 0.1, 0.4), (0, 0.1, 0.3, 0.2))  # some reach beyond the image
    there = rois._replace(centre=torch.stack([1 - rois.centre[:, 0], rois.centre[:, 1]], -1))
    tokens, scores = torch.rand(3, 8), torch.rand(3)
    for order in (ORDER, None):
        found = roi_head(images, EXTENT, tokens, scores, rois, order)
        mirrored = roi_head(images.flip(-1), EXTENT, tokens, scores, there, order)
        back = torch.stack([1 - mirrored.poses[..., 0], mirrored.poses[..., 1]], -1)[:, ORDER]
        parts = [(back, found.poses), (mirrored.confidences[:, ORDER], found.confidences)]
        parts.append((mirrored.scores, found.scores))
        for got, expected in parts:
            assert torch.allclose(got, expected, rtol=0, atol=1e-4) == (order is not None)


@torch.inference_mode()
def test_a_flip_test_takes_the_mean_of_both_heatmaps():
    roi_head, images, rois = sharp_head(), torch.rand(1, 3, 100, 200), crops_at((0, 0.4, 0.25, 0.3))
    given = (images, EXTENT, torch.rand(1, 8), torch.rand(1), rois)
    pixels = sample(images, EXTENT, rois, SIZE).contiguous(memory_format=torch.channels_last)
    alone, other = (roi_head.read(view, *given[2:]) for view in (pixels, pixels.flip(-1)))
    without, found = roi_head(*given), roi_head(*given, ORDER)
    for name in ("poses", "confidences", "scores", "fine", "context"):  # without it all is as it was
        assert torch.equal(getattr(without, name), getattr(alone, name))
    assert torch.equal(without.heatmaps.log_probabilities, alone.heatmaps.log_probabilities)
    first, second = (view.heatmaps.log_probabilities.exp().view(3, *CELLS) for view in (alone, other))
    shares = torch.zeros_like(first)
    for k, partner in enumerate(ORDER.tolist()):
        for x in range(CELLS[1]):
            shares[k, :, x] = (first[k, :, x] + second[partner, :, CELLS[1] - 1 - x]) / 2
    torch.testing.assert_close(found.heatmaps.log_probabilities[0].exp(), shares.flatten(1))
    points, share = best_places(heatmaps_of(shares.flatten(1)[None]), 2 * REACH * SIGMAS)
    torch.testing.assert_close(found.poses, rois.outside(points / torch.tensor(CELLS[::-1])))
    torch.testing.assert_close(found.confidences, 1 + share.log())
    torch.testing.assert_close(found.scores, (alone.scores + other.scores) / 2)
    assert torch.equal(found.fine, alone.fine) and torch.equal(found.context, alone.context)


def test_kernels_have_no_products_that_slow_a_cpu() -> None:
    """The smallest weight twice, of a share of e^-40, is a normal number still."""
    kernels = _kernels(48, torch.tensor([0.7, 3.0]))
    assert kernels.min().square() * torch.tensor(-40.0).exp() > torch.finfo(torch.float32).tiny
    assert (kernels.diagonal(dim1=1, dim2=2) == 1).all()
