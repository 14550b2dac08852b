"""`sia_pose`: `sia_pose_simple` with a cross-attention decoder that refines each keypoint on a stride-8 map."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from sia.backbone import Backbone, ConvStem, Features
from sia.matcher import NO_ONE
from sia.model import Widths
from sia.outputs import PoseOutput, gather_rows
from sia.refiner import PoseRefiner
from sia.sia_pose_simple import SiaPoseSimple


class SiaPose(SiaPoseSimple):
    """Tokens find people, the refiner places their keypoints; its cost follows people, not tokens."""

    reads_patches = True

    def __init__(self, backbone: Backbone, widths: Widths, mean_pose: Tensor, sigmas: Tensor) -> None:
        super().__init__(backbone, widths, mean_pose, sigmas)
        stem = backbone.vit.patch_embed
        stem_dim = stem.proj.in_channels if isinstance(stem, ConvStem) else 0
        self.refiner = PoseRefiner(backbone.dim, backbone.dim, stem_dim, widths.narrow, len(mean_pose), widths.layers)

    def finish(self, output: PoseOutput, features: Features, tokens: Tensor, size: tuple[int, int]) -> PoseOutput:
        """Refines the best people; in training the matched ones first."""
        chosen = self._choose(output)
        people = output.people.select(chosen)
        height, width = features.grid
        patches = self.backbone.norm(features.tokens[:, self.backbone.prefix :])
        patches = rearrange(patches, "b (h w) d -> b d h w", h=height, w=width)
        extent = torch.tensor([width, height], device=patches.device) * (self.backbone.patch / max(size))
        refined = self.refiner(gather_rows(tokens, chosen), people, patches, features.stem8, extent)
        output.people, output.chosen, output.refined = refined[-1], chosen, refined
        return output

    def _choose(self, output: PoseOutput) -> Tensor:
        """(B, R) rows of the tokens to refine: the best by score, after those that are matched to someone."""
        scores = output.people.scores.detach()
        count = min(self.widths.refined, self.widths.tokens, scores.shape[1])
        if output.matched is None:
            return scores.topk(count, dim=1).indices
        first = output.matched[:, 0]  # rows of the group that is used at test time
        own = scores.sigmoid()[:, : scores.shape[1] // output.matched.shape[1]]
        boost = torch.zeros(len(own), own.shape[1] + 1, device=own.device)
        boost = boost.scatter(1, torch.where(first == NO_ONE, own.shape[1], first), 2.0)[:, :-1]
        return (own + boost).topk(min(count, own.shape[1]), dim=1).indices
