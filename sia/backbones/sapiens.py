"""Sapiens (Khirodkar et al., 2024): plain ViTs pretrained on images of people; Sapiens2 is among timm's models.

Built without class token, which the published pose models do without.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor

SAPIENS: dict[str, dict[str, int]] = {
    "sapiens_0.3b": {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
    "sapiens_0.6b": {"patch_size": 16, "embed_dim": 1280, "depth": 32, "num_heads": 16},
    "sapiens_1b": {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24},
    "sapiens_2b": {"patch_size": 16, "embed_dim": 1920, "depth": 48, "num_heads": 32},
}
PADDING = 2
"""Pixels by which the patches lie further up and left, as in the published pose models (and in ViTPose)."""


class ShiftedPatchEmbed(PatchEmbed):
    """timm's patch projection as a convolution with padding 2: patch i begins at pixel 16 i - 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W), sides multiples of 16, to (B, H / 16, W / 16, D)."""
        patches: Tensor = super().forward(F.pad(x, (PADDING, -PADDING, PADDING, -PADDING)))  # type: ignore[no-untyped-call]
        return patches


def sapiens_grid(positions: int) -> tuple[int, int] | None:
    """(h, w) of so many learned positions without class token: square in pretraining, 4:3 in the pose models."""
    side = math.isqrt(positions)
    if side * side == positions:
        return side, side
    unit = math.isqrt(positions // 12)
    return (4 * unit, 3 * unit) if 12 * unit * unit == positions else None
