"""Layers that several parts share."""

from __future__ import annotations

from torch import nn


def downsample(width_in: int, width_out: int) -> nn.Sequential:
    """A 3x3 convolution of stride 2, batch normalisation and SiLU: (N, C, h, w) to half the height and width."""
    convolution = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.SiLU())


class MLP(nn.Sequential):
    """Two linear layers with GELU between them; the last one starts near zero."""

    def __init__(self, dim: int, hidden: int, out: int, bias: float = 0.0) -> None:
        last = nn.Linear(hidden, out)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.constant_(last.bias, bias)
