"""The averaged weights that are evaluated and saved."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def decay_for(total_steps: int) -> float:
    """A horizon that fits the run: the average looks back over about a tenth of it."""
    return max(0.0, 1 - 10 / max(total_steps, 10))


class ExponentialMovingAverage(nn.Module):
    """An exponential moving average of a model's parameters; buffers are copied, not averaged.

    The decay warms up as (1 + n) / (10 + n), so that the random start is forgotten soon. A decay of 0 keeps the newest
    weights.

    Attributes:
        module: the averaged model. Parameters that have no gradient now are the model's own: no second copy of a
            frozen backbone.
        n_averaged: how often it was updated.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
        self.module: nn.Module = copy.deepcopy(model, shared)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))

    def separate(self, model: nn.Module) -> None:
        """Gives it a copy of its own of what is trained from now on."""
        trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        kept = {id(parameter): parameter for parameter in self.module.parameters() if id(parameter) not in trained}
        self.module = copy.deepcopy(self.module, kept)

    def gather(self) -> None:
        """Brings `module` up to date, where it isn't always; all ranks must call it."""

    def _pairs(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Each average, and what it is an average of."""
        both = zip(self.module.parameters(), model.parameters(), strict=True)
        return [(own, new) for own, new in both if own is not new]

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """To be called after every step of the optimiser."""
        pairs = self._pairs(model)
        if pairs:
            own, new = (list(part) for part in zip(*pairs, strict=True))
            n = int(self.n_averaged)
            decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
            torch._foreach_lerp_(own, new, 1 - decay)
        for kept, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
        self.n_averaged += 1


def skip_warm_up(averaged: ExponentialMovingAverage) -> None:
    """For a trained start, which is worth remembering: the full decay from the first step on."""
    averaged.n_averaged.fill_(10**9)
