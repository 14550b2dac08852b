"""Layers that several parts share, and the places of a map's cells."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval


def downsample(width_in: int, width_out: int) -> nn.Sequential:
    """A 3x3 convolution of stride 2, batch normalisation and SiLU: (N, C, h, w) to half the height and width."""
    convolution = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.SiLU())


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input; starts as the identity."""

    normalised = (("first", "norm1"), ("second", "norm2"))
    """Names of its convolutions, and of the normalisation that follows each: see `fold_batch_norms`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, h, w) to the same shape."""
        inplace = not self.training  # in training the gradient needs its input, which would be copied
        inner = F.silu(self.norm1(self.first(x)), inplace=inplace)
        return F.silu(self.norm2(self.second(inner)).add_(x), inplace=inplace)


def fold_batch_norms(model: nn.Module) -> None:
    """Makes batch normalisation part of the convolutions before it: faster, the same results, for inference only.

    What they give needs no memory beside it for the activation, either.
    """
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = True
        pairs = getattr(module, "normalised", ())
        if isinstance(module, nn.Sequential):
            pairs = pairwise(name for name, _ in module.named_children())
        for convolution, norm in pairs:
            before, after = getattr(module, convolution), getattr(module, norm)
            if isinstance(before, nn.Conv2d) and type(after) is nn.BatchNorm2d:
                setattr(module, convolution, fuse_conv_bn_eval(before, after))
                setattr(module, norm, nn.Identity())


class MLP(nn.Sequential):
    """Two linear layers with GELU between them; the last one starts near zero."""

    def __init__(self, dim: int, hidden: int, out: int, bias: float = 0.0) -> None:
        last = nn.Linear(hidden, out)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.constant_(last.bias, bias)


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
    """Queries look at each other within their group, then at a memory, which never looks at them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), Attention(dim)
        self.norm_cross, self.attend_cross = nn.LayerNorm(dim), Attention(dim)
        self.feed = FeedForward(dim, 2)

    def forward(self, queries: Tensor, memory: Tensor, groups: int = 1) -> Tensor:
        """queries (B, G * M, D), memory (B, N, D) -> queries."""
        own = rearrange(self.norm_self(queries), "b (g m) d -> (b g) m d", g=groups)
        queries = queries + rearrange(self.attend_self(own, own), "(b g) m d -> b (g m) d", g=groups)
        queries = queries + self.attend_cross(self.norm_cross(queries), memory)
        fed: Tensor = queries + self.feed(queries)
        return fed


def cell_centres(cells: tuple[int, int], device: torch.device) -> Tensor:
    """Rows and columns of a map -> (rows * columns, 2) x, y in cells, row by row."""
    rows, columns = (torch.arange(count, device=device, dtype=torch.float32) + 0.5 for count in cells)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)
