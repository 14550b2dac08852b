"""The learning rate over a run, counted in steps of the optimiser."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

FLAT_UNTIL = 0.5
"""Share of the run at the full learning rate."""
FINAL = 0.01
"""Where the cosine ends, as a share of the full learning rate."""


def factor(step: int, total: int, warmup: int) -> float:
    """Share of the peak learning rate at one step: linear warm-up, flat to half of the run, cosine to 1 percent.

    A function of the step alone, so that a resumed run can't drift.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    start = max(warmup, round(total * FLAT_UNTIL))
    if step < start:
        return 1.0
    progress = min((step - start) / max(total - 1 - start, 1), 1.0)
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * progress)) / 2


def make_scheduler(optimizer: Optimizer, total: int, warmup: int) -> LambdaLR:
    """To be stepped once after every step of the optimiser."""
    return LambdaLR(optimizer, partial(factor, total=total, warmup=warmup))
