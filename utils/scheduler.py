"""The learning rate over a run, counted in steps of the optimiser."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

FINAL = 0.01
"""Where the cosine ends, as a share of the full learning rate."""


def factor(step: int, total: int, warmup: int) -> float:
    """Share of the peak learning rate at one step: linear warm-up, then cosine to 1 percent.

    A function of the step alone, so that a resumed run can't drift.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(total - 1 - warmup, 1), 1.0)
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * progress)) / 2


def make_scheduler(optimizer: Optimizer, total: int, warmup: int) -> LambdaLR:
    """To be stepped once after every step of the optimiser."""
    return LambdaLR(optimizer, partial(factor, total=total, warmup=warmup))
