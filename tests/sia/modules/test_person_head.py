"""The person head: where candidates start, what moves with what, and what stays finite."""

from __future__ import annotations

import pytest
import torch

from sia.modules.person_head import LOG_SIZE_LIMIT, PersonHead, Reference, reference_from
from sia.outputs import Prediction, gather_rows

MEAN = torch.tensor([[-0.1, -0.4], [0.2, 0.0], [0.0, 0.5]])


def make_head(dim: int = 16, still: bool = False) -> PersonHead:
    torch.manual_seed(0)
    head = PersonHead(dim, MEAN)
    for part in (head.score, head.box, head.pose):
        torch.nn.init.normal_(part[2].weight, std=0.0 if still else 0.3)
    return head


def make_reference(batch: int = 2, count: int = 5) -> Reference:
    boxes = torch.rand(batch, count, 4) * 0.4 + 0.1
    return Reference(boxes, MEAN.expand(batch, count, -1, -1) + 0.1 * torch.randn(batch, count, 3, 2))


def test_shapes_and_types():
    found = make_head()(torch.randn(2, 5, 16), make_reference())
    assert [tuple(part.shape) for part in found] == [(2, 5), (2, 5, 4), (2, 5, 3, 2), (2, 5, 3)]
    assert all(part.dtype == torch.float32 for part in found)


def test_a_new_head_leaves_candidates_at_their_reference_with_a_low_score():
    reference = make_reference()
    found = PersonHead(16, MEAN)(torch.randn(2, 5, 16), reference)
    torch.testing.assert_close(found.boxes, reference.boxes, atol=2e-2, rtol=0)
    expected = reference.boxes[..., None, :2] + reference.boxes[..., None, 2:] * reference.poses
    torch.testing.assert_close(found.poses, expected, atol=2e-2, rtol=0)
    assert (found.scores.sigmoid() < 0.05).all()


def test_patches_start_at_their_centres_in_units_of_the_longer_side():
    reference = make_head().patch_reference((2, 3), 16 / 48, side=1.5, batch=2)
    assert reference.boxes.shape == (2, 6, 4)
    pixels = reference.boxes[0, :, :2] * 48
    expected = torch.tensor([[8.0, 8], [24, 8], [40, 8], [8, 24], [24, 24], [40, 24]])
    torch.testing.assert_close(pixels, expected)
    torch.testing.assert_close(reference.boxes[..., 2:] * 48, torch.full((2, 6, 2), 24.0))
    torch.testing.assert_close(reference.poses, MEAN.expand(2, 6, -1, -1))


def test_a_shifted_and_enlarged_reference_shifts_and_enlarges_everything():
    head, tokens, reference = make_head(), torch.randn(2, 5, 16), make_reference()
    scale, shift = 1.7, torch.tensor([0.3, -0.2])
    other = Reference(
        torch.cat([reference.boxes[..., :2] * scale + shift, reference.boxes[..., 2:] * scale], -1), reference.poses
    )
    before, after = head(tokens, reference), head(tokens, other)
    torch.testing.assert_close(after.poses, before.poses * scale + shift)
    torch.testing.assert_close(after.boxes[..., :2], before.boxes[..., :2] * scale + shift)
    torch.testing.assert_close(after.boxes[..., 2:], before.boxes[..., 2:] * scale)
    assert torch.equal(after.scores, before.scores)


def test_keypoints_may_lie_outside_box_and_image():
    head = make_head(still=True)
    with torch.no_grad():
        head.pose[2].bias.view(3, 3)[:, 0] = 5.0
    found = head(torch.randn(1, 1, 16), Reference(torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), MEAN.expand(1, 1, -1, -1)))
    torch.testing.assert_close(found.poses[0, 0, :, 0], 0.5 + 0.2 * (MEAN[:, 0] + 5.0))


def test_the_reference_from_a_prediction_leaves_it_where_it_is():
    head, tokens = make_head(), torch.randn(2, 5, 16)
    found = head(tokens, make_reference())
    again = make_head(still=True)(tokens, reference_from(found))
    torch.testing.assert_close(again.boxes, found.boxes)
    torch.testing.assert_close(again.poses, found.poses)


def test_no_gradient_passes_through_a_reference():
    found = make_head()(torch.randn(2, 5, 16), make_reference())
    reference = reference_from(found)
    assert not reference.boxes.requires_grad
    assert not reference.poses.requires_grad


def test_size_changes_by_a_bounded_factor():
    head = make_head(still=True)
    with torch.no_grad():
        head.box[2].bias[2:] = 1e4
    reference = make_reference()
    found = head(torch.randn(2, 5, 16), reference)
    factor = (found.boxes[..., 2:] / reference.boxes[..., 2:]).log()
    torch.testing.assert_close(factor, torch.full_like(factor, LOG_SIZE_LIMIT))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e6])
def test_references_of_any_size_stay_finite(size):
    boxes = torch.tensor([[[0.5, 0.5, size, size]]])
    poses = torch.full((1, 1, 3, 2), 0.5)
    reference = reference_from(Prediction(torch.zeros(1, 1), boxes, poses, torch.zeros(1, 1, 3)))
    found = make_head()(torch.randn(1, 1, 16), reference)
    assert all(part.isfinite().all() for part in found)


def test_full_precision_leaves_the_head_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        found = make_head()(torch.randn(2, 5, 16), make_reference())
    assert all(part.dtype == torch.float32 for part in found)


def test_rows_are_gathered_in_the_order_asked_for():
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    rows = gather_rows(values, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(rows[0], values[0, [2, 0]])
    assert torch.equal(rows[1], values[1, [1, 1]])
    assert gather_rows(values, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 2, 2)


def test_selecting_and_detaching_keep_the_parts_together():
    found = make_head()(torch.randn(2, 5, 16), make_reference())
    some = found.select(torch.tensor([[3], [1]]))
    assert torch.equal(some.poses[1, 0], found.poses[1, 1])
    assert torch.equal(some.scores[0, 0], found.scores[0, 3])
    assert not any(part.requires_grad for part in found.detach())
