"""`sia_pose_decoder_led`: fewer blocks, patches only, then a light late decoder."""

from __future__ import annotations

from torch import Tensor, nn

from sia.model import PoseModel, drop_unused_blocks
from sia.modules.layers import DecoderLayer
from sia.modules.person_head import Reference
from sia.outputs import Prediction
from sia.registry import HeadConfig
from sia.sia_vision import Backbone, Features

KEPT_BLOCKS = 2 / 3
"""Fraction of the backbone's blocks that run."""


class SiaPoseDecoderLed(PoseModel):
    """The first two thirds of the backbone; tokens of a narrower width read its patches in layers of their own."""

    def __init__(self, backbone: Backbone, head_config: HeadConfig, mean_pose: Tensor, sigmas: Tensor) -> None:
        drop_unused_blocks(backbone, round(backbone.depth * KEPT_BLOCKS), keep_norm=False)
        super().__init__(backbone, head_config, head_config.hidden_dim, mean_pose, sigmas)
        self.input_proj = nn.Linear(backbone.dim, head_config.hidden_dim)
        self.decoder = nn.ModuleList(DecoderLayer(head_config.hidden_dim) for _ in range(head_config.layers))
        self.norm_tokens = nn.ModuleList(nn.LayerNorm(head_config.hidden_dim) for _ in range(head_config.layers))

    def encode(self, features: Features) -> tuple[Features, Tensor]:
        """Every kept block, then the narrower width."""
        for index in range(self.backbone.depth):
            features, _ = self.backbone.run_block(index, features)
        return features, self.norm_patches(self.input_proj(features.tokens[:, self.backbone.prefix :]))

    def read(
        self, features: Features, patches: Tensor, tokens: Tensor, reference: Reference, groups: int
    ) -> tuple[Features, list[Tensor], list[Prediction]]:
        """The decoder."""
        states: list[Tensor] = []
        layers: list[Prediction] = []
        for layer, norm in zip(self.decoder, self.norm_tokens, strict=True):
            tokens = layer(tokens, patches, groups)
            states.append(norm(tokens))
            reference = self._predict(states[-1], reference, groups, layers)
        return features, states, layers
