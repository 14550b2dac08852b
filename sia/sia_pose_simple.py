"""`sia_pose_simple`: detection tokens join the ViT's own last blocks; a crop of each person gives the keypoints."""

from __future__ import annotations

from torch import Tensor, nn

from sia.model import PoseModel, drop_unused_blocks
from sia.modules.person_head import Reference
from sia.outputs import Prediction
from sia.registry import HeadConfig
from sia.sia_vision import Backbone, Features


class SiaPoseSimple(PoseModel):
    """All blocks of the backbone; the last `token_blocks` are run with the tokens beside the patches.

    Patches never look at tokens (Song et al., ViDT, section 3.1), so the features stay what they were.
    """

    def __init__(self, backbone: Backbone, head_config: HeadConfig, mean_pose: Tensor, sigmas: Tensor) -> None:
        super().__init__(backbone, head_config, backbone.dim, mean_pose, sigmas)
        self.norm_tokens = nn.ModuleList(nn.LayerNorm(backbone.dim) for _ in range(head_config.token_blocks))
        drop_unused_blocks(backbone, backbone.depth, keep_norm=self.reads_patches)

    @property
    def reads_patches(self) -> bool:
        """Whether anything reads the patches after the last block."""
        return False

    @property
    def _join(self) -> int:
        return self.backbone.depth - self.head_config.token_blocks

    def encode(self, features: Features) -> tuple[Features, Tensor]:
        """The blocks before the tokens join."""
        for index in range(self._join):
            features, _ = self.backbone.run_block(index, features)
        return features, self.norm_patches(features.tokens[:, self.backbone.prefix :])

    def read(
        self, features: Features, patches: Tensor, tokens: Tensor, reference: Reference, groups: int
    ) -> tuple[Features, list[Tensor], list[Prediction]]:
        """The last blocks, with the tokens."""
        states: list[Tensor] = []
        layers: list[Prediction] = []
        for norm, index in zip(self.norm_tokens, range(self._join, self.backbone.depth), strict=True):
            update = self.reads_patches or index < self.backbone.depth - 1
            features, joined = self.backbone.run_block(index, features, tokens, groups, update)
            assert joined is not None
            tokens = joined
            states.append(norm(tokens))
            reference = self._predict(states[-1], reference, groups, layers)
        return features, states, layers
