"""`sia_pose_decoder_led`: fewer blocks, patches only, then a light late decoder."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from sia.model import PoseModel, drop_unused_blocks
from sia.modules.layers import Attention, FeedForward
from sia.modules.person_head import Reference
from sia.outputs import Prediction
from sia.registry import HeadConfig
from sia.sia_vision import Backbone, Features

KEPT_BLOCKS = 2 / 3
"""Fraction of the backbone's blocks that run."""


class DecoderLayer(nn.Module):
    """Tokens look at each other within their group, then at the patches; patches never look at them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), Attention(dim)
        self.norm_cross, self.attend_cross = nn.LayerNorm(dim), Attention(dim)
        self.feed = FeedForward(dim, 2)

    def forward(self, tokens: Tensor, patches: Tensor, groups: int) -> Tensor:
        """tokens (B, G * M, D), patches (B, N, D) -> tokens."""
        own = rearrange(self.norm_self(tokens), "b (g m) d -> (b g) m d", g=groups)
        tokens = tokens + rearrange(self.attend_self(own, own), "(b g) m d -> b (g m) d", g=groups)
        tokens = tokens + self.attend_cross(self.norm_cross(tokens), patches)
        fed: Tensor = tokens + self.feed(tokens)
        return fed


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
