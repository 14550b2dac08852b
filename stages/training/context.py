"""What a trainer works with: the parts of a run, and what is known of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from datasets.loader import TrainingLoader, ValidationLoader
from sia.batch import PoseBatch
from sia.losses.criterion import PoseCriterion
from sia.skeletons.skeleton import Skeleton
from stages.training.auto_config import Plan
from stages.training.pretrained import Pretrained
from stages.training.state import TrainingState
from stages.training.time_budget import Deadline
from stages.training.visualizer import TrainingVisualizer
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext
from utils.logger import Dashboards, Progress, ResultsFile
from utils.run_folder import RunFolder


class StepSync(NamedTuple):
    """What all ranks know before a step.

    Attributes:
        people: in all batches of the step on all ranks, divided by the ranks, at least 1.
        images: in all of them.
        signal: its number if any rank has got one, else 0.
        save: whether it is time to.
        total: steps that the run should have.
    """

    people: float
    images: int
    signal: int
    save: bool
    total: int


class WeightedBatch(NamedTuple):
    """One batch of a step and how it counts.

    Attributes:
        batch: on the CPU.
        people: what its losses are divided by.
        weight: what they count, 1 for labelled batches.
        suffix: of their names.
    """

    batch: PoseBatch
    people: float
    weight: float = 1.0
    suffix: str = ""


class Unlabelled(Protocol):
    """A second source of losses: a batch a step whose labels are made up on the way."""

    def batch(self, step: int) -> PoseBatch:
        """The batch of a step, as large on each rank; called once for each step, in their order.

        Raises:
            SiaError: an image can't be used.
        """

    def weight(self, step: int) -> float:
        """What its losses count in this step, above 0."""


@dataclass
class TrainerContext:
    """What a trainer works with.

    Attributes:
        network: the model as it is called: wrapped in DistributedDataParallel where there are several processes.
        state: the model itself and all else that a checkpoint holds.
        description: the part of every checkpoint that says what it is: model_config and skeleton.
        identity: facts of the data that a resumed run must share.
        pretrained: what the run started from, which decides automatic choices.
        results, dashboards, images: on the first rank only.
        unlabelled: what is learned from beside the labelled batches, if anything.
        patience: evaluations without a new best AP that end the run; None for no end before the last epoch.
        deadline: of a run with -TIME.
    """

    config: TrainConfig
    plan: Plan
    ranks: DistributedContext
    network: nn.Module
    state: TrainingState
    criterion: PoseCriterion
    training: TrainingLoader[PoseBatch]
    validation: ValidationLoader
    skeleton: Skeleton
    folder: RunFolder
    description: dict[str, Any]
    identity: dict[str, Any]
    pretrained: Pretrained
    progress: Progress
    results: ResultsFile | None
    dashboards: Dashboards | None
    visualizer: TrainingVisualizer | None
    unlabelled: Unlabelled | None = None
    patience: int | None = None
    deadline: Deadline | None = None

    def close(self) -> None:
        """Ends the progress bar, the loaders' workers and the dashboards."""
        self.progress.close()
        self.training.close()
        self.validation.close()
        if self.dashboards is not None:
            self.dashboards.close()
