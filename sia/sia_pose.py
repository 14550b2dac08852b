"""`sia_pose`: `sia_pose_simple` with a cross-attention decoder that refines each keypoint on a stride-8 map."""

from __future__ import annotations

from torch import Tensor

from sia.modules.refiner import PoseRefiner
from sia.outputs import Prediction
from sia.registry import HeadConfig
from sia.sia_pose_simple import SiaPoseSimple
from sia.sia_vision import Backbone, Features


class SiaPose(SiaPoseSimple):
    """Tokens find people and their keypoints, the refiner corrects them; its cost follows people, not tokens."""

    reads_patches = True

    def __init__(self, backbone: Backbone, head_config: HeadConfig, mean_pose: Tensor, sigmas: Tensor) -> None:
        super().__init__(backbone, head_config, mean_pose, sigmas)
        self.refiner = PoseRefiner(
            backbone.dim, backbone.dim, self.stem_dim, head_config.hidden_dim, len(mean_pose), head_config.layers
        )

    def refine(self, people: Prediction, tokens: Tensor, features: Features, size: tuple[int, int]) -> list[Prediction]:
        """Moves the keypoints and revises the scores, layer by layer."""
        patches = self._as_map(self.backbone.norm(features.tokens[:, self.backbone.prefix :]), features.grid)
        refined: list[Prediction] = self.refiner(
            tokens, people, patches, features.stem8, self.extent(features.grid, size)
        )
        return refined
