"""-TIME: as many steps as fit into so many minutes, and fewer where the machine becomes slower on the way."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import torch

from sia.batch import PoseBatch
from sia.errors import ConfigError, WeightsError
from sia.model import PoseModel
from sia.runtimes.torch_runtime import torch_finder
from stages.evaluator import predict_batch
from stages.training.auto_config import Plan, make_plan
from stages.training.data import Data
from stages.training.initialization import Pretrained, Start
from stages.training.state import SavedTraining
from stages.training.trial import on_trial, trial_steps
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext

WARM_UP, LEAST, MOST = 2, 5, 50
"""Steps of the trial: not timed; timed at least; and at most."""
TRIAL_SECONDS = 3.0
"""The timed steps of the trial last at least so long, where `MOST` of them do."""
MARGIN = 0.03
"""Fraction of the time that is kept for what is not measured: saves, images, the end."""
SCORING = 2.0
"""Seconds to compute AP from the predictions, and to draw."""
FEWEST = 10
"""Fewer steps teach nothing."""
RECENT, WINDOW = 20, 0.1
"""The recent speed is the mean of at least so many steps, and of this fraction of the time left."""
TOLERANCE = 0.05
"""A smaller relative difference of the steps left changes nothing."""


@dataclass(frozen=True)
class Speed:
    """What this machine needs, the slowest rank counting.

    Attributes:
        step: seconds of one step of the optimiser, loading included.
        evaluation: seconds of one evaluation.
    """

    step: float
    evaluation: float


def fit_to_time(
    config: TrainConfig, plan: Plan, ranks: DistributedContext, data: Data, model: PoseModel, pretrained: Pretrained,
    start: Start,
) -> tuple[TrainConfig, Plan, Deadline | None]:  # fmt: skip
    """With -TIME: the epochs and the steps that fit, and who watches them; else everything as it is.

    A resumed run keeps the steps that it was planned with, and has the minutes that are left.

    Raises:
        ConfigError: the time is too short.
    """
    if config.time is None:
        return config, plan, None
    seconds = 60 * config.time
    batches = len(data.training)
    per_epoch = math.ceil(batches / config.accum)
    if start.training is not None:
        steps, speed, spent = budget_of(start.training, start.source)
        compares = False
    else:
        speed = measure_speed(config, plan, model, data, ranks)
        elapsed = ranks.from_main(time.monotonic() - start.began)
        steps, compares = _fit(config, speed, per_epoch, elapsed, pretrained)
        spent = 0.0
    epochs = math.ceil(steps / per_epoch)
    try:
        config = replace(config, epoch=epochs)
    except ConfigError as error:  # another flag counts in epochs, of which it wants more
        raise ConfigError(f"-TIME {config.time:g} is {epochs} epochs here. {error}") from None
    plan = make_plan(config, ranks, batches, data.workers, pretrained, steps)
    text = (
        f"{config.time:g} minutes (-TIME) are {steps} steps, {steps / per_epoch:.1f} epochs: "
        f"{config.bs * config.accum / speed.step:.1f} images/s a process, {speed.evaluation:.0f} s an evaluation"
    )
    plan = replace(plan, lines=(("time", text), *plan.lines))
    end = start.began + seconds * (1 - MARGIN) - spent
    return config, plan, Deadline(end, speed, evaluation_share(config, speed, per_epoch), compares)


def _fit(config: TrainConfig, speed: Speed, per_epoch: int, elapsed: float, pretrained: Pretrained) -> tuple[int, bool]:
    """The steps that fit, and whether there is time to evaluate the weights that the run starts from, too."""
    if pretrained.is_whole:
        with contextlib.suppress(ConfigError):
            return fit_steps(config, speed, per_epoch, elapsed, evaluations=2), True
    return fit_steps(config, speed, per_epoch, elapsed, evaluations=1), False


def measure_speed(config: TrainConfig, plan: Plan, model: PoseModel, data: Data, ranks: DistributedContext) -> Speed:
    """Times real steps and evaluation batches; weights are afterwards as before. All ranks must call it.

    Raises:
        SiaError: an image can't be used, or the memory is full.
    """
    device = ranks.device.torch
    try:
        with on_trial(model):
            step = _seconds_of_step(config, plan, model, data, ranks)
            evaluation = _seconds_of_evaluation(model, data, device)
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"The memory of {device} is full. Use a smaller -BS and a larger -ACCUM.") from error
    finally:
        data.training.close()
        data.validation.close()
    return Speed(max(ranks.gather(step)), max(ranks.gather(evaluation)))


def _seconds_of_step(config: TrainConfig, plan: Plan, model: PoseModel, data: Data, ranks: DistributedContext) -> float:
    step = trial_steps(config, plan, model, data, ranks)

    def epochs() -> Iterator[PoseBatch]:
        while True:  # on little data an epoch is shorter than the trial
            data.training.set_epoch(0)
            yield from data.training

    batches = epochs()
    started, steps = 0.0, -WARM_UP
    while True:
        if steps == 0:
            started = time.monotonic()
        step(list(islice(batches, config.accum)))
        steps += 1
        seconds = time.monotonic() - started
        if steps >= MOST or ranks.sum(steps >= LEAST and seconds >= TRIAL_SECONDS)[0] == ranks.world_size:
            return seconds / steps


def _seconds_of_evaluation(model: PoseModel, data: Data, device: torch.device) -> float:
    """From a few batches; the first one is not timed where there are more."""
    model.eval()
    find = torch_finder(model, device)
    seconds = []
    for batch in islice(data.validation, 4):
        started = time.monotonic()
        predict_batch(find, batch)
        seconds.append(time.monotonic() - started)
    timed = seconds[1:] or seconds
    return SCORING + len(data.validation) * sum(timed) / max(len(timed), 1)


def evaluation_share(config: TrainConfig, speed: Speed, per_epoch: int) -> float:
    """Seconds of the evaluations between the epochs, by step."""
    return speed.evaluation / (per_epoch * config.eval_every)


def fit_steps(config: TrainConfig, speed: Speed, per_epoch: int, elapsed: float, evaluations: int) -> int:
    """How many steps of the optimiser fit, their evaluations included.

    Args:
        config: with ``time`` in minutes.
        speed: of this machine.
        per_epoch: steps in an epoch.
        elapsed: seconds since the command was started.
        evaluations: that there are whatever the number of steps.

    Raises:
        ConfigError: the time is too short to learn anything.
    """
    assert config.time is not None
    fixed = elapsed + evaluations * speed.evaluation
    each = speed.step + evaluation_share(config, speed, per_epoch)
    steps = int((60 * config.time * (1 - MARGIN) - fixed) / each)
    if steps < FEWEST:
        least = (fixed + FEWEST * each) / (1 - MARGIN) / 60
        raise ConfigError(
            f"-TIME {config.time:g} is too short here: start and evaluation take {fixed / 60:.1f} minutes, a step "
            f"{each:.1f} seconds. Give at least {least:.1f}, fewer images to evaluate on, or a smaller -SIZE or -IMGSZ."
        )
    return steps


@dataclass
class Deadline:
    """Watches the clock of a run with -TIME.

    Attributes:
        end: when the run must be over, in seconds of `time.monotonic`.
        speed: as measured before the first step.
        share: of the evaluations to come, in seconds a step.
        compares: whether the weights that the run starts from are evaluated too.
    """

    end: float
    speed: Speed
    share: float = 0.0
    compares: bool = False
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def to_dict(self, steps: int) -> dict[str, Any]:
        """For a checkpoint, with the steps that the run was planned with; see `budget_of`."""
        return {"steps": steps, **asdict(self.speed)}

    def pause(self, seconds: float) -> None:
        """Between two steps so much time went by otherwise, as for an evaluation: the steps are no slower for it."""
        self._marks = deque((moment + seconds, step) for moment, step in self._marks)

    def fit(self, step: int, total: int, most: int, now: float | None = None) -> int:
        """The steps that the run should have: ``total``, unless the recent speed says that it would end too late.

        Args:
            step: steps done.
            total: steps that the run has so far.
            most: steps that it was planned with.
            now: seconds of `time.monotonic`.
        """
        now = time.monotonic() if now is None else now
        marks, window = self._marks, WINDOW * (self.end - now)
        marks.append((now, step))
        while len(marks) > RECENT + 1 and now - marks[1][0] >= window:
            marks.popleft()
        (since, first), left = marks[0], total - step
        if step - first < RECENT or now - since < window or left <= 0:
            return total
        seconds = (now - since) / (step - first)
        slower = max(1.0, seconds / self.speed.step)
        left_for_steps = self.end - now - slower * self.speed.evaluation
        fits = max(1, int(left_for_steps / (seconds + slower * self.share)))
        if abs(fits - left) <= max(TOLERANCE * left, 1):
            return total
        self._marks = deque([marks[-1]])
        return min(step + fits, most)


def budget_of(training: SavedTraining, source: object) -> tuple[int, Speed, float]:
    """Steps planned, speed, and seconds spent of the run that a training checkpoint belongs to.

    Raises:
        WeightsError: it doesn't say.
    """
    saved = training.budget
    if saved is None:
        raise WeightsError(f"{source} doesn't say how its -TIME was fitted, so the run can't be continued.")
    return saved.steps, Speed(saved.step, saved.evaluation), training.cursor.seconds
