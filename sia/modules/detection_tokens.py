"""Detection tokens: the best distinct proposals of the patches become tokens, of which one keeps each person."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.boxes import iou, to_corners
from sia.modules.person_head import PersonHead, Reference, reference_from
from sia.outputs import Prediction, at_most, gather_rows

LOWEST, HIGHEST = 0.5, 32.0
"""Cycles over the longer input side of the slowest and fastest sine."""

REFERENCE_NOISE = 0.15
"""Standard deviation of the shift and growth of references in the training-only groups, in fractions of the box."""


POOL = 4
"""Patches among which distinct ones are looked for, as a multiple of the tokens."""

DUPLICATE_IOU = 0.8
"""IoU with the box of a better patch from which on a patch is not a distinct one."""


def sine_embedding(coordinates: Tensor, dim: int) -> Tensor:
    """coordinates (..., C) in units of the longer input side -> (..., dim), dim a multiple of 2 C."""
    count = dim // (2 * coordinates.shape[-1])
    steps = torch.arange(count, device=coordinates.device, dtype=torch.float32)
    angles = coordinates.float()[..., None] * (2 * math.pi * LOWEST * (HIGHEST / LOWEST) ** (steps / count))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class DetectionTokens(nn.Module):
    """The M best patches become tokens: the patch's feature plus an embedding of its reference.

    In training there are G groups of M tokens (Chen et al., Group DETR, section 3): the first is the one used at
    test time, the others start from disturbed references, which teaches the later layers to correct.

    A patch whose box resembles that of a better patch comes after all that are distinct, so that the tokens are not
    spent on a few people (Zhang et al., Dense Distinct Query, CVPR 2023, section 3.2, each patch compared with all
    better ones instead of those that are kept: that needs no loop).

    Also in training, the best patch of each person is always chosen. Without that, most tokens are matched to people
    far away at first, and their large losses keep the whole model from learning (measured: on 16 photographs box AP
    is 0 instead of 23 after 60 steps).
    """

    def __init__(self, dim: int, num_keypoints: int, tokens: int, groups: int) -> None:
        super().__init__()
        self.dim, self.tokens, self.groups = dim, tokens, groups
        self.content = nn.Linear(dim, dim)
        self.place = nn.Sequential(nn.Linear(dim + 2 * num_keypoints, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, patches: Tensor, head: PersonHead, proposals: Prediction, forced: Tensor | None = None
    ) -> tuple[Tensor, Reference]:
        """Builds the tokens.

        Args:
            patches: (B, N, D) normalised patch features.
            head: the shared head, for its mean pose.
            proposals: (B, N) candidates, one a patch.
            forced: in training, (B, N) bool, patches to choose whatever their score.

        Returns:
            (B, G * M, D) tokens and their references; G is 1 outside training.
        """
        best = self._best(proposals.detach(), forced)
        reference = reference_from(proposals.select(best))
        content = self.content(gather_rows(patches, best))
        if self.training and self.groups > 1:
            extra = [_disturbed(reference) for _ in range(self.groups - 1)]
            reference = Reference(*(torch.cat(parts, dim=1) for parts in zip(reference, *extra, strict=True)))
            content = content.repeat(1, self.groups, 1)
        shape = (reference.poses - head.mean_pose).flatten(-2).clamp(-4, 4)
        place = torch.cat([sine_embedding(reference.boxes, self.dim), shape], dim=-1)
        return content + self.place(place.to(content.dtype)), reference

    def _best(self, proposals: Prediction, forced: Tensor | None) -> Tensor:
        """(B, M) int64 patches: those that are sure, then distinct ones, then the others of the pool."""
        patches = proposals.scores.shape[1]
        pool = proposals.scores.sigmoid().topk(at_most(POOL * self.tokens, patches), dim=1)
        boxes = to_corners(gather_rows(proposals.boxes, pool.indices))
        rank = pool.values - (overlap_with_better(boxes, pool.values) > DUPLICATE_IOU).to(pool.values.dtype)
        rank = torch.full_like(proposals.scores, -2.0).scatter(1, pool.indices, rank)
        rank = rank if forced is None else rank + 4 * forced
        return rank.topk(at_most(self.tokens, patches), dim=1).indices


def _disturbed(reference: Reference) -> Reference:
    centre, size = reference.boxes.chunk(2, dim=-1)
    centre = centre + size * REFERENCE_NOISE * torch.randn_like(centre)
    size = size * (REFERENCE_NOISE * torch.randn_like(size)).exp()
    poses = reference.poses + REFERENCE_NOISE * torch.randn_like(reference.poses)
    return Reference(torch.cat([centre, size], dim=-1), poses)


PENALTY = 6.0
"""What a token loses from its logit at first, if a better one has the very same box."""


class DuplicateSuppression(nn.Module):
    """Lowers the score of a token that overlaps a better one of its group, by as much as it has learned.

    Inside the model and before the matching, so the loss sees the result: the penalty is a function of the token, which
    may have found another person in the same place. It takes the place of non-maximum suppression, without a threshold
    (after Hosang et al., Learning non-maximum suppression, section 3, reduced to the best rival). Attention alone
    learns the same, but late.
    """

    def __init__(self, dim: int) -> None:
        """dim: width of the tokens."""
        super().__init__()
        self.penalty = nn.Linear(dim, 1)
        nn.init.normal_(self.penalty.weight, std=1e-3)
        nn.init.constant_(self.penalty.bias, PENALTY)

    def forward(self, tokens: Tensor, prediction: Prediction, groups: int) -> Prediction:
        """tokens (B, G * M, dim), normalised, and what they predict -> the same with lower scores."""
        penalty = F.softplus(self.penalty(tokens).float()).squeeze(-1)
        boxes = rearrange(to_corners(prediction.boxes.detach()), "b (g m) c -> (b g) m c", g=groups)
        scores = rearrange(prediction.scores.detach(), "b (g m) -> (b g) m", g=groups)
        overlap = rearrange(overlap_with_better(boxes, scores), "(b g) m -> b (g m)", g=groups)
        return prediction._replace(scores=prediction.scores - penalty * overlap.square())


def overlap_with_better(boxes: Tensor, scores: Tensor) -> Tensor:
    """boxes (B, M, 4) as corners, scores (B, M) -> (B, M), the highest IoU with a box of a higher score, or 0."""
    overlap = iou(boxes[:, :, None], boxes[:, None])
    better = scores[:, None, :] > scores[:, :, None]
    return (overlap * better).amax(-1)
