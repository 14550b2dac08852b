"""The learning rate over a run, counted in steps of the optimiser."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

FINAL = 0.01
"""Where the cosine ends, as a fraction of the full learning rate."""


class Schedule:
    """Fraction of the peak learning rate at one step: linear warm-up, then cosine to 1 percent.

    A function of the step alone, so that a resumed run can't drift. `LambdaLR` saves its attributes.

    Attributes:
        total, warmup: steps.
        anchor, progress: the step from which the cosine goes on evenly to its end, and how far it was there, 0 to 1.
    """

    def __init__(self, total: int, warmup: int) -> None:
        self.total, self.warmup = total, warmup
        self.anchor, self.progress = warmup, 0.0

    def __call__(self, step: int) -> float:
        """The fraction."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * self._progress(step))) / 2

    def _progress(self, step: int) -> float:
        share = (step - self.anchor) / max(self.total - 1 - self.anchor, 1)
        return min(self.progress + (1 - self.progress) * share, 1.0)

    def end_at(self, total: int, step: int) -> None:
        """From this step on, the cosine goes on from where it is to its end at another total, without a jump."""
        if step > self.warmup:
            self.anchor, self.progress = step, self._progress(step)
        self.total = total


def make_scheduler(optimizer: Optimizer, total: int, warmup: int) -> LambdaLR:
    """To be stepped once after every step of the optimiser."""
    return LambdaLR(optimizer, Schedule(total, warmup))


def end_schedule_at(scheduler: LambdaLR, total: int) -> None:
    """`Schedule.end_at` for a scheduler of `make_scheduler`, from its present step on."""
    for schedule in {id(one): one for one in scheduler.lr_lambdas}.values():
        assert isinstance(schedule, Schedule)
        schedule.end_at(total, scheduler.last_epoch)
