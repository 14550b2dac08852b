"""The averaged weights that are evaluated and saved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def decay_for(total_steps: int) -> float:
    """A horizon that fits the run: the average looks back over about a tenth of it."""
    return max(0.0, 1 - 10 / max(total_steps, 10))


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the parameters; buffers are copied, not averaged.

    The decay warms up as (1 + n) / (10 + n), so that the random start is forgotten soon. A decay of 0 keeps the
    newest weights.
    """
    return AveragedModel(model, multi_avg_fn=partial(_average, decay))


def _average(decay: float, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
    n = int(count)
    torch._foreach_lerp_(list(averaged), list(current), 1 - min(decay, (1 + n) / (10 + n)))


def skip_warm_up(averaged: AveragedModel) -> None:
    """For a trained start, which is worth remembering: the full decay from the first step on."""
    averaged.n_averaged.fill_(10**9)
