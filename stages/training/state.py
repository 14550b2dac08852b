"""Everything that an exact continuation needs, to and from a checkpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta, Struct, to_builtins
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sia.errors import ConfigError, WeightsError, first_line
from sia.io.stored import Count, Finite, checked
from sia.io.weights import check_weights
from sia.model import PoseModel
from stages.training.optimizer_state import alike, optimizer_state, scheduler_state
from utils.distributed.context import DistributedContext
from utils.distributed.sharding import ShardedAverage, part_like, share_out, whole
from utils.ema import ExponentialMovingAverage

_ANEW = "Start anew from its weights: --RESUME .../best.pt."

Word = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""Of a random generator."""


@dataclass
class Cursor:
    """Where a run stands.

    Attributes:
        epoch: in progress, from 0.
        batch: batches of this epoch that are done, on each rank; all of them while the evaluation is still to come.
        step: steps of the optimiser since the start.
        seconds: of training and evaluation since the start.
        best: highest AP so far, -2 before the first.
        stale: epochs since then, as of the latest evaluation.
        sums: of each loss over the steps of this epoch, on this rank.
        steps: of this epoch.
        total: steps of the optimiser at which the run ends, whatever the epoch; 0 where epochs alone decide.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = -2.0
    stale: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    total: int = 0


class RandomState(Struct):
    """The schema of what `random_state` returns."""

    python: tuple[int, list[Word], float | None]
    numpy: tuple[str, list[Word], Count, Count, float]
    torch: Tensor
    cuda: Tensor | None = None
    mps: Tensor | None = None


class SavedCursor(Struct):
    """The schema of a saved `Cursor`: the sums are those of each rank."""

    epoch: Count
    batch: Count
    step: Count
    seconds: Annotated[float, Meta(ge=0, le=1e15)]
    best: Finite
    sums: list[dict[str, Finite]]
    steps: Count
    stale: Count = 0
    total: Count = 0


class SavedBudget(Struct):
    """How a saved run was fitted to -TIME: the steps that it was planned with, and seconds; see `Deadline.to_dict`."""

    steps: Count
    step: Annotated[float, Meta(gt=0, le=1e9)]
    evaluation: Annotated[float, Meta(ge=0, le=1e9)]


class SavedStart(Struct):
    """What a saved run started from; see `stages.training.initialization.Pretrained`."""

    is_trained: bool
    is_whole: bool
    has_trunk: bool = False


class SavedTraining(Struct):
    """The schema of what a training checkpoint has beside its weights: see `Trainer.save`, `TrainingState.to_dict`."""

    config: dict[str, Any]
    identity: dict[str, int | list[str]]
    pretrained: SavedStart
    cursor: SavedCursor
    model: dict[str, Tensor]
    averaged: dict[str, Tensor]
    averaged_steps: Count
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    world_size: Annotated[int, Meta(ge=1, le=2**20)]
    random: list[RandomState]
    budget: SavedBudget | None = None


def read_training(checkpoint: Mapping[str, Any], source: object) -> SavedTraining:
    """What a training checkpoint says of its run.

    Raises:
        WeightsError: it says nothing, or something that no run can have saved.
    """
    saved: SavedTraining = checked(
        checkpoint.get("training"), SavedTraining, f"{source}: its training can't be continued", _ANEW, WeightsError
    )
    return saved


@dataclass
class TrainingState:
    """The parts of a training that change while it runs."""

    model: PoseModel  # not wrapped
    ema: ExponentialMovingAverage
    optimizer: Optimizer
    scheduler: LambdaLR
    scaler: torch.amp.GradScaler
    cursor: Cursor = field(default_factory=Cursor)

    def to_dict(self, ranks: DistributedContext) -> dict[str, Any]:
        """Tensors and plain types; all ranks must call it, for each has random numbers of its own."""
        return {
            "cursor": {**asdict(self.cursor), "sums": ranks.gather(self.cursor.sums)},
            "model": whole(self.model.state_dict()),
            "averaged": self.ema.module.state_dict(),
            "averaged_steps": int(self.ema.n_averaged),
            "optimizer": whole(self.optimizer.state_dict()),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "world_size": ranks.world_size,
            "random": ranks.gather(random_state(ranks.device.torch)),
        }

    def restore(self, saved: SavedTraining, ranks: DistributedContext, source: object = "The checkpoint") -> None:
        """Takes up where `to_dict` was called. Everything is checked before anything is changed.

        Args:
            saved: from `read_training`.
            ranks: as many as there were.
            source: for the message.

        Raises:
            ConfigError: the number of processes is another.
            WeightsError: the checkpoint doesn't fit the model, its optimiser or its schedule.
        """
        if saved.world_size != ranks.world_size:
            raise ConfigError(
                f"The run was trained by {saved.world_size} processes and can't be continued exactly by "
                f"{ranks.world_size}. Start as many (torchrun --nproc_per_node), or start anew from best.pt."
            )
        try:
            if not len(saved.random) == len(saved.cursor.sums) == ranks.world_size:
                raise ValueError(f"it has random states of {len(saved.random)} processes")
            optimizer = optimizer_state(saved.optimizer, self.optimizer)
            scheduler = scheduler_state(saved.scheduler, self.scheduler)
            scaler = alike(saved.scaler, self.scaler.state_dict(), "scaler")
            model = check_weights(self.model, saved.model, source)
            averaged = check_weights(self.ema.module, saved.averaged, source)
            restore_random_state(saved.random[ranks.rank], ranks.device.torch)
        except (RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
            raise WeightsError(f"{source}: its training can't be continued: {first_line(error)}. {_ANEW}") from error
        own = self.model.state_dict()
        self.model.load_state_dict({name: part_like(value, own[name]) for name, value in model.items()})
        self.ema.module.load_state_dict(averaged)
        self.ema.n_averaged.fill_(saved.averaged_steps)
        self.optimizer.load_state_dict(optimizer)
        if isinstance(self.ema, ShardedAverage):
            self.ema.scatter(self.model)
            share_out(self.optimizer)
        self.scheduler.load_state_dict(scheduler)
        self.scaler.load_state_dict(scaler)
        cursor = to_builtins(saved.cursor)
        self.cursor = Cursor(**{**cursor, "sums": saved.cursor.sums[ranks.rank]})


def seed_everything(seed: int) -> None:
    """Seeds every random generator of this process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator of this process, as tensors and plain types."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def restore_random_state(state: RandomState, device: torch.device) -> None:
    """Inverse of `random_state`.

    Raises:
        RuntimeError, ValueError or TypeError: it is no state of these generators.
    """
    version, numbers, gauss = state.python
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state.numpy
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state.torch)
    if state.cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state.cuda, device)
    if state.mps is not None and device.type == "mps":
        torch.mps.set_rng_state(state.mps)


def plain(values: Any) -> Any:
    """Numbers of any library as plain ones, which is all that a safe checkpoint may hold."""
    return json.loads(json.dumps(values, default=float))
