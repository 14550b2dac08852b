"""Detection tokens: which patches become tokens, and what the training-only groups are."""

from __future__ import annotations

import pytest
import torch

from sia.modules.detection_tokens import DetectionTokens, sine_embedding
from sia.modules.person_head import PersonHead
from sia.outputs import Prediction

MEAN = torch.tensor([[-0.1, -0.4], [0.2, 0.0], [0.0, 0.5]])
DIM, M = 24, 4


def make(groups: int = 3) -> tuple[DetectionTokens, PersonHead]:
    torch.manual_seed(0)
    return DetectionTokens(DIM, 3, M, groups), PersonHead(DIM, MEAN)


def proposals_of(scores: torch.Tensor) -> Prediction:
    batch, count = scores.shape
    g = torch.Generator().manual_seed(1)
    boxes = torch.rand(batch, count, 4, generator=g) + 0.1
    poses = torch.rand(batch, count, 3, 2, generator=g)
    return Prediction(scores, boxes, poses, torch.zeros(batch, count, 3))


def test_the_best_patches_become_tokens_best_first():
    tokens, head = make()
    proposals = proposals_of(torch.tensor([[0.0, 3, -1, 5, 2, 1, -9], [7, 6, 5, 4, 3, 2, 1]]).float())
    made, reference = tokens.eval()(torch.randn(2, 7, DIM), head, proposals)
    assert made.shape == (2, M, DIM)
    assert torch.equal(reference.boxes[0], proposals.boxes[0, [3, 1, 4, 5]])
    assert torch.equal(reference.boxes[1], proposals.boxes[1, :4])
    relative = (proposals.poses[1, :4] - reference.boxes[1, :, None, :2]) / reference.boxes[1, :, None, 2:]
    torch.testing.assert_close(reference.poses[1], relative)


def test_sure_patches_are_tokens_whatever_their_score():
    tokens, head = make(groups=1)
    proposals = proposals_of(torch.tensor([[9.0, 8, 7, 6, 5, -50]]))
    forced = torch.tensor([[False, False, False, False, False, True]])
    _, reference = tokens.train()(torch.randn(1, 6, DIM), head, proposals, forced)
    assert torch.equal(reference.boxes[0], proposals.boxes[0, [5, 0, 1, 2]])


def test_more_sure_patches_than_tokens():
    tokens, head = make(groups=1)
    proposals = proposals_of(torch.tensor([[9.0, 8, 7, 6, 5, -50]]))
    _, reference = tokens.train()(torch.randn(1, 6, DIM), head, proposals, torch.ones(1, 6, dtype=torch.bool))
    assert torch.equal(reference.boxes[0], proposals.boxes[0, :4])


def test_patches_like_a_better_one_come_after_distinct_ones():
    tokens, head = make(groups=1)
    proposals = proposals_of(torch.tensor([[9.0, 8, 7, 6, 5, 4]]))
    proposals.boxes[0] = torch.tensor([0.5, 0.5, 0.1, 0.1])
    proposals.boxes[0, :, 0] += torch.tensor([0.0, 0.005, 0.3, 0.02, 0.305, -0.3])  # IoU 0.90, -, 0.67 and 0.74, 0.90
    _, reference = tokens.eval()(torch.randn(1, 6, DIM), head, proposals)
    assert torch.equal(reference.boxes[0], proposals.boxes[0, [0, 2, 3, 5]])
    tokens.tokens = 5  # the distinct ones are used up
    _, reference = tokens(torch.randn(1, 6, DIM), head, proposals)
    assert torch.equal(reference.boxes[0], proposals.boxes[0, [0, 2, 3, 5, 1]])


def test_sure_patches_are_tokens_even_like_a_better_one():
    tokens, head = make(groups=1)
    proposals = proposals_of(torch.tensor([[9.0, 8, 7, 6, 5, 4]]))
    proposals.boxes[0] = torch.tensor([0.5, 0.5, 0.1, 0.1])
    forced = torch.tensor([[False, False, False, False, True, False]])
    proposals.poses[0, :, 0, 0] = torch.arange(6)  # to tell them apart
    _, reference = tokens.train()(torch.randn(1, 6, DIM), head, proposals, forced)
    numbers = reference.poses[0, :, 0, 0] * 0.1 + 0.5
    assert numbers.round().int().tolist() == [4, 0, 1, 2]


@pytest.mark.parametrize("patches", [1, 3])
def test_fewer_patches_than_tokens(patches):
    tokens, head = make(groups=2)
    made, _ = tokens.train()(torch.randn(2, patches, DIM), head, proposals_of(torch.randn(2, patches)))
    assert made.shape == (2, 2 * patches, DIM)


def test_the_first_group_is_the_one_of_test_time_and_the_others_start_disturbed():
    tokens, head = make(groups=3)
    patches, proposals = torch.randn(2, 9, DIM), proposals_of(torch.randn(2, 9))
    alone, reference = tokens.eval()(patches, head, proposals)
    made, references = tokens.train()(patches, head, proposals)
    assert made.shape == (2, 3 * M, DIM)
    torch.testing.assert_close(made[:, :M], alone)
    torch.testing.assert_close(references.boxes[:, :M], reference.boxes)
    groups = references.boxes.unflatten(1, (3, M))
    for g in (1, 2):
        moved = (groups[:, g] - groups[:, 0]).abs()
        assert (moved > 0).all()
        assert (moved / groups[:, 0, :, 2:].repeat(1, 1, 2)).max() < 1  # a disturbance, not another place
    assert not torch.equal(groups[:, 1], groups[:, 2])
    assert (groups[..., 2:] > 0).all()


def test_groups_are_those_of_the_seed():
    tokens, head = make(groups=2)
    patches, proposals = torch.randn(1, 9, DIM), proposals_of(torch.randn(1, 9))
    torch.manual_seed(5)
    first = tokens.train()(patches, head, proposals)[0]
    torch.manual_seed(5)
    assert torch.equal(first, tokens(patches, head, proposals)[0])


def test_gradients_reach_the_patches_but_not_the_proposals():
    tokens, head = make()
    patches = torch.randn(1, 9, DIM, requires_grad=True)
    proposals = Prediction(*(part.requires_grad_() for part in proposals_of(torch.randn(1, 9))))
    made, reference = tokens.train()(patches, head, proposals)
    made.sum().backward()
    assert (patches.grad.abs().sum(-1) > 0).sum() == M
    assert all(part.grad is None for part in proposals)
    assert not reference.boxes.requires_grad


def test_scores_that_are_no_numbers_break_nothing():
    tokens, head = make()
    made, _ = tokens.train()(torch.randn(1, 9, DIM), head, proposals_of(torch.full((1, 9), float("nan"))))
    assert made.shape == (1, 3 * M, DIM)


def test_places_have_embeddings_of_their_own():
    heatmaps = torch.rand(50, 4)
    embedded = sine_embedding(heatmaps, 96)
    assert embedded.shape == (50, 96)
    assert embedded.abs().max() <= 1
    distances = torch.cdist(embedded, embedded) + 10 * torch.eye(50)
    assert distances.min() > 0.1
    near = sine_embedding(heatmaps + 1e-3, 96)
    assert (near - embedded).norm(dim=-1).max() < distances.min()


@pytest.mark.parametrize("dim", [48, 96, 128, 192, 256, 384, 768, 1024])
def test_the_embedding_has_the_width_of_every_size(dim):
    assert sine_embedding(torch.rand(2, 3, 4), dim).shape == (2, 3, dim)
