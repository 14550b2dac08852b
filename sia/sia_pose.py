"""`sia_pose`: `sia_pose_simple` with a cross-attention decoder that refines each keypoint on a stride-8 map."""

from __future__ import annotations

from torch import Tensor

from sia.model import Widths
from sia.modules.refiner import PoseRefiner
from sia.outputs import PoseOutput
from sia.sia_pose_simple import SiaPoseSimple
from sia.sia_vision import Backbone, Features


class SiaPose(SiaPoseSimple):
    """Tokens find people and their keypoints, the refiner corrects them; its cost follows people, not tokens."""

    reads_patches = True

    def __init__(self, backbone: Backbone, widths: Widths, mean_pose: Tensor, sigmas: Tensor) -> None:
        super().__init__(backbone, widths, mean_pose, sigmas)
        self.refiner = PoseRefiner(
            backbone.dim, backbone.dim, self.stem_dim, widths.narrow, len(mean_pose), widths.layers
        )

    def refine(self, output: PoseOutput, tokens: Tensor, features: Features, size: tuple[int, int]) -> None:
        """Moves the keypoints and revises the scores, layer by layer."""
        patches = self._as_map(self.backbone.norm(features.tokens[:, self.backbone.prefix :]), features.grid)
        extent = self.extent(features.grid, size)
        output.placed += self.refiner(tokens, output.placed[-1], patches, features.stem8, extent)
