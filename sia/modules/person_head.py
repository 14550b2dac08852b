"""The person head: one reader for every token, patch or detection."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import MLP, cell_centres
from sia.outputs import Prediction

SCORE_PRIOR = -4.0
"""Logit that a candidate starts with: few of them are people (Lin et al., Focal Loss, section 4.1)."""

PATCH_BOX = 0.25
"""Side of the box that a patch starts from, as a fraction of the input that the weights were first made for."""

LOG_SIZE_LIMIT = 4.0
"""A box changes its size by at most exp(4) = 55 times in one step, which keeps fp16 finite."""


class Reference(NamedTuple):
    """Where a token starts from. Gradients never pass through it.

    Attributes:
        boxes: (B, Q, 4) centre x, centre y, width, height.
        poses: (B, Q, K, 2) keypoints relative to the box: (keypoint - centre) / (width, height).
    """

    boxes: Tensor
    poses: Tensor


def reference_from(prediction: Prediction) -> Reference:
    """The reference that leaves a prediction where it is."""
    boxes = prediction.boxes.detach()
    size = boxes[..., None, 2:].clamp(min=1e-4)
    return Reference(boxes, (prediction.poses.detach() - boxes[..., None, :2]) / size)


class PersonHead(nn.Module):
    """Reads a score, a box and K keypoints from a token.

    The box is a change of the reference box: centre moves by fractions of its size, size by a factor. Keypoints are
    relative to the new box, ``centre + size * (reference + delta)``, so a pose starts as the mean pose of the
    training set; nothing squashes them into the box or the image.
    """

    mean_pose: Tensor

    def __init__(self, dim: int, mean_pose: Tensor) -> None:
        """Builds the head.

        Args:
            dim: width D of the tokens.
            mean_pose: (K, 2) float32, the mean of (keypoint - box centre) / (width, height).
        """
        super().__init__()
        self.num_keypoints = len(mean_pose)
        self.score = MLP(dim, dim, 1, bias=SCORE_PRIOR)
        self.box = MLP(dim, dim, 4)
        self.pose = MLP(dim, dim, 3 * self.num_keypoints)
        self.register_buffer("mean_pose", mean_pose.float())

    def forward(self, tokens: Tensor, reference: Reference) -> Prediction:
        """tokens (B, Q, D), normalised -> Q candidates."""
        scores = self.score(tokens).float().squeeze(-1)
        shift, grow = self.box(tokens).float().chunk(2, dim=-1)
        centre, size = reference.boxes.chunk(2, dim=-1)
        grown = size * grow.clamp(-LOG_SIZE_LIMIT, LOG_SIZE_LIMIT).exp()
        boxes = torch.cat([centre + size * shift, grown], dim=-1)
        delta = rearrange(self.pose(tokens).float(), "b q (k c) -> b q k c", c=3)
        keypoints = boxes[..., None, :2] + boxes[..., None, 2:] * (reference.poses + delta[..., :2])
        return Prediction(scores, boxes, keypoints, delta[..., 2])

    def patch_reference(self, grid: tuple[int, int], step: float, side: float | Tensor, batch: int) -> Reference:
        """The reference of every patch: a box of one size at its centre, and the mean pose.

        Args:
            grid: (h, w) patches.
            step: side of a patch in units of the longer input side.
            side: of the box, in patches.
            batch: B.
        """
        centres = cell_centres(grid, self.mean_pose.device) * step
        boxes = torch.cat([centres, torch.ones_like(centres) * side * step], dim=-1)
        poses = self.mean_pose.expand(batch, grid[0] * grid[1], -1, -1)
        return Reference(boxes.expand(batch, -1, -1), poses)
