"""Everything that an exact continuation needs, to and from a checkpoint."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sia.model import PoseModel
from utils.distributed import Ranks
from utils.ema import Average
from utils.errors import ConfigError, WeightsError


@dataclass
class Cursor:
    """Where a run stands.

    Attributes:
        epoch: in progress, from 0.
        batch: batches of this epoch that are done, on each rank; all of them while the evaluation is still to come.
        step: steps of the optimiser since the start.
        seconds: of training and evaluation since the start.
        best: highest AP so far, -2 before the first.
        stale: evaluations since then.
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


@dataclass
class TrainingState:
    """The parts of a training that change while it runs."""

    model: PoseModel  # not wrapped
    ema: Average
    optimizer: Optimizer
    scheduler: LambdaLR
    scaler: torch.amp.GradScaler
    cursor: Cursor = field(default_factory=Cursor)

    def to_dict(self, ranks: Ranks) -> dict[str, Any]:
        """Tensors and plain types; all ranks must call it, for each has random numbers of its own."""
        return {
            "cursor": {**asdict(self.cursor), "sums": ranks.gather(self.cursor.sums)},
            "model": self.model.state_dict(),
            "averaged": self.ema.module.state_dict(),
            "averaged_steps": int(self.ema.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "world_size": ranks.world_size,
            "random": ranks.gather(random_state(ranks.device.torch)),
        }

    def restore(self, saved: dict[str, Any], ranks: Ranks) -> None:
        """Takes up where `to_dict` was called.

        Raises:
            ConfigError: the number of processes is another.
            WeightsError: the checkpoint doesn't fit the model.
        """
        if saved["world_size"] != ranks.world_size:
            raise ConfigError(
                f"The run was trained by {saved['world_size']} processes and can't be continued exactly by "
                f"{ranks.world_size}. Start as many (torchrun --nproc_per_node), or start anew from best.pt."
            )
        try:
            self.model.load_state_dict(saved["model"])
            self.ema.module.load_state_dict(saved["averaged"])
            self.ema.n_averaged.fill_(saved["averaged_steps"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scheduler.load_state_dict(saved["scheduler"])
            self.scaler.load_state_dict(saved["scaler"])
            self.cursor = Cursor(**{**saved["cursor"], "sums": saved["cursor"]["sums"][ranks.rank]})
            restore_random_state(saved["random"][ranks.rank], ranks.device.torch)
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"The checkpoint doesn't fit this version of SIA Pose: {reason}") from error


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


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Inverse of `random_state`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    if state["mps"] is not None and device.type == "mps":
        torch.mps.set_rng_state(state["mps"])


def plain(values: Any) -> Any:
    """Numbers of any library as plain ones, which is all that a safe checkpoint may hold."""
    return json.loads(json.dumps(values, default=float))
