"""The phases of a training: which weights move, each with an optimiser and a schedule of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sia.model import PoseModel
from sia.sia_vision import TrainableParts
from utils.optimizer import Schedule, make_optimizer

FREEZE_SHARE, FREEZE_STEPS = 0.1, 1000
"""The automatic first phase: this fraction of the run, and at most about so many steps."""


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs.

    Attributes:
        trainable: what of the backbone is trained; all else of the model always is.
        end: the epoch before which it ends, counted from the start of the run.
        steps, warmup: of the optimiser; a linear warm-up, then a cosine to 1 percent.
        lr: peak learning rate of the new parts.
        llrd: decay of the learning rate per backbone layer.
        muon: whether Muon moves the hidden matrices.
        trunk: peak learning rate and decay per stage of a pretrained network that reads the crops; None: as the rest.
    """

    trainable: TrainableParts
    end: int
    steps: int
    warmup: int
    lr: float
    llrd: float
    muon: bool
    trunk: tuple[float, float] | None = None


def phase_at(phases: tuple[Phase, ...], epoch: int) -> Phase:
    """The phase of an epoch, counted from 0; after the last epoch still the last phase."""
    return next((phase for phase in phases if epoch < phase.end), phases[-1])


def freeze_epochs_of(epochs: int, steps: int) -> int:
    """The automatic length of the first phase, where only the backbone is pretrained.

    While the heads are random, their gradient spoils pretrained features (Kumar et al., Fine-Tuning can Distort
    Pretrained Features, 2022), and how long they need is a matter of steps, not of images seen.

    Args:
        epochs: of the run.
        steps: of the optimiser in an epoch.
    """
    if epochs < 2:
        return 0
    return max(1, min(round(FREEZE_SHARE * epochs), math.ceil(FREEZE_STEPS / steps)))


def start_phase(model: PoseModel, phase: Phase, weight_decay: float) -> tuple[Optimizer, LambdaLR]:
    """Sets what is trained; returns a new optimiser and its schedule.

    The optimiser starts without memory: what it knew of the heads was measured on features that don't move, and the
    warm-up gives it time to measure anew.
    """
    model.backbone.set_trainable(phase.trainable)
    optimizer = make_optimizer(
        model, lr=phase.lr, weight_decay=weight_decay, layer_decay=phase.llrd, muon=phase.muon, trunk=phase.trunk
    )
    return optimizer, LambdaLR(optimizer, Schedule(phase.steps, phase.warmup))
