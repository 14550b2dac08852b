"""The light late decoder: narrow layers in which detection tokens read finished patches."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of queries on a context, heads of 32 channels.

    Attributes:
        fused_attn: whether PyTorch's fused kernel is used; the name is timm's.
    """

    fused_attn = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = max(1, dim // 32)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """queries (B, Q, D), context (B, N, D) -> (B, Q, D)."""
        q = rearrange(self.query(queries), "b q (h d) -> b h q d", h=self.heads)
        k, v = rearrange(self.key_value(context), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        if self.fused_attn:
            values = F.scaled_dot_product_attention(q, k, v)
        else:
            values = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        read: Tensor = self.out(rearrange(values, "b h q d -> b q (h d)"))
        return read


class FeedForward(nn.Sequential):
    """Pre-norm two-layer network."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


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
