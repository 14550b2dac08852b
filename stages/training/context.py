"""What a trainer works with: the parts of a run, and what is known of a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import nn

from sia.batch import PoseBatch
from sia.skeletons.skeleton import Skeleton
from stages.training.auto_config import Plan
from stages.training.data import Data
from stages.training.initialization import Pretrained
from stages.training.state import TrainingState
from stages.training.time_budget import Deadline
from stages.training.visualizer import TrainingVisualizer
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext
from utils.logger import Dashboards, Progress, ResultsFile
from utils.run_folder import RunFolder


class StepFacts(NamedTuple):
    """What a rank knows before a step; added up over all ranks, what they all act upon.

    Attributes:
        people, images: in its labelled batches.
        signal: whether a signal came.
        error: whether a batch can't be had.
        save: whether it is time to; the first rank's watch counts.
        total: steps that the run should have; 0 on all ranks but the first.
    """

    people: float
    images: float
    signal: float
    error: float
    save: float
    total: float


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
        pretrained: what the run started from, which decides automatic choices.
        results, dashboards, visualizer: on the first rank only.
        unlabelled: what is learned from beside the labelled batches, if anything.
        deadline: of a run with -TIME.
        measured: of a run that is continued, the figures of its last evaluation, and when they were taken.
    """

    config: TrainConfig
    plan: Plan
    ranks: DistributedContext
    data: Data
    network: nn.Module
    state: TrainingState
    folder: RunFolder
    description: dict[str, Any]
    pretrained: Pretrained
    progress: Progress
    results: ResultsFile | None
    dashboards: Dashboards | None
    visualizer: TrainingVisualizer | None
    unlabelled: Unlabelled | None = None
    deadline: Deadline | None = None
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def skeleton(self) -> Skeleton:
        """Names and sigmas of the keypoints."""
        return self.data.train.skeleton

    def report(self, row: dict[str, float | int | None], improved: bool) -> None:
        """Says and notes the figures of an epoch, on the first rank.

        Raises:
            OutputError: the table can't be written.
        """
        line = f"epoch {row['epoch']}/{self.config.epoch}  loss {row['loss']:.3f}"
        line += "".join(f"  {name} {100 * (row[name] or 0):.1f}" for name in ("AP", "AP50", "AR") if name in row)
        self.progress.say(line + "  (best so far)" * improved)
        if self.results is not None:
            self.results.add(row)
        if self.dashboards is not None:
            self.dashboards.log(row, self.state.cursor.step)

    def close(self) -> None:
        """Ends the progress bar, the loaders' workers and the dashboards."""
        self.progress.close()
        self.data.training.close()
        self.data.validation.close()
        if self.dashboards is not None:
            self.dashboards.close()
