"""Layers that several parts share."""

from __future__ import annotations

from torch import nn


class MLP(nn.Sequential):
    """Two linear layers with GELU between them; the last one starts near zero."""

    def __init__(self, dim: int, hidden: int, out: int, bias: float = 0.0) -> None:
        last = nn.Linear(hidden, out)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.constant_(last.bias, bias)
