"""Keeps one hardware thread as busy as a training would, until it is ended.

Two trainings side by side share a core. When one has no partner any more, it would run faster than the others did.
"""

from __future__ import annotations

import torch
from torch import nn


def main() -> None:
    """Trains a small network on noise, for ever."""
    torch.set_num_threads(1)
    layers = [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Flatten(),
        nn.LazyLinear(1),
    ]
    network = nn.Sequential(*layers)
    images = torch.randn(8, 3, 64, 64)
    while True:
        network.zero_grad()
        torch.autograd.backward(network(images).square().mean())


if __name__ == "__main__":
    main()
