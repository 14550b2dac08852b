"""DuplicateSuppression: of several tokens that found the same person, one speaks and the others step back."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.boxes import iou, to_corners
from sia.outputs import Prediction

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
