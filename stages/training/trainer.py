"""The training loop: steps, epochs, saves, and what stops it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from math import ceil, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from sia.backbones.lora import plain_weights
from sia.batch import PoseBatch
from sia.commands.signals import Interrupted, SignalHandler
from sia.errors import SiaError, TrainingError
from sia.evaluation.coco_eval import Metrics
from sia.io.checkpoint import FORMAT, save_checkpoint
from sia.io.weights import CERTAINTY
from sia.losses.criterion import PoseCriterion
from stages.evaluator import evaluate_model
from stages.training.context import StepFacts, TrainerContext, WeightedBatch
from stages.training.phases import phase_at, start_phase
from stages.training.state import SavedStart, plain
from utils.distributed.context import keep_statistics, running_statistics, wrap
from utils.distributed.sharding import whole
from utils.optimizer import end_schedule_at, learning_rates

SMALLEST_SCALE = 1e-3
"""fp16: a loss scale below this means that the gradient is not finite at any scale."""


class Trainer:
    """Runs epochs until the last, or until a signal."""

    def __init__(self, parts: TrainerContext) -> None:
        self.parts = parts
        self.state, self.ranks, self.config = parts.state, parts.ranks, parts.config
        self.cursor = parts.state.cursor
        self.before: Metrics | None = None
        self.metrics: Metrics | None = None
        self._measured = parts.measured  # the figures in the weights file, and when they were taken
        self._device = parts.ranks.device.torch
        self._criterion = PoseCriterion(torch.tensor(parts.skeleton.sigmas)).to(self._device)
        self._phase = phase_at(parts.plan.phases, self.cursor.epoch)
        self._parameters = _trained(parts.state.model)
        self._statistics = running_statistics(parts.state.model)
        self._saved = self._clock = time.monotonic()

    def run(self, interruption: SignalHandler) -> int:
        """Trains.

        Returns:
            0, or the number of the signal that ended it, after saving.

        Raises:
            TrainingError: the loss is not finite.
        """
        while not self.finished:
            try:
                number = self._train_epoch(interruption) or self._agreed_signal(interruption)
                if not number:
                    self._finish_epoch(interruption)
            except Interrupted as stop:  # in the evaluation, before which all was saved
                return stop.number
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"The memory of {self._device} is full. Use a smaller -BS and a larger -ACCUM."
                ) from error
            if number:
                self.save()
                return number
        return 0

    @property
    def total(self) -> int:
        """Steps of the optimiser in the whole run; fewer than planned where a run with -TIME became slower."""
        return self.cursor.total or self.parts.plan.total_steps

    @property
    def out_of_patience(self) -> bool:
        """Whether AP has not risen for so long that the run ends (-PATIENCE)."""
        return 0 < self.config.patience <= self.cursor.stale

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over, its evaluation included; the last epoch of a run with -TIME is cut short."""
        cut = self.cursor.step >= self.total and self.cursor.batch == 0
        return cut or self.cursor.epoch >= self.config.epoch or self.out_of_patience

    def measure_start(self) -> None:
        """Lets the weights that the run starts from take part in the choice of the best; all ranks must call it."""
        self.before = metrics = self._evaluate()
        self._measured = {"epoch": 0, "step": 0, **plain(metrics.to_dict())}
        self.cursor.best = metrics.AP
        with self.ranks.shared_errors():
            if self.ranks.is_main:
                save_checkpoint(self.parts.folder.best, self._weights())
                if self.parts.visualizer is not None:
                    self.parts.visualizer.start(self.state.ema.module)

    def _train_epoch(self, interruption: SignalHandler) -> int:
        """The rest of an epoch; returns a signal's number if one came."""
        loader, cursor = self.parts.data.training, self.cursor
        if cursor.batch >= len(loader):
            return 0
        epochs = ceil(self.total / ceil(len(loader) / self.config.accum))  # -TIME may have made them fewer
        loader.set_mosaic(cursor.epoch < epochs - self.parts.plan.plain_epochs)
        loader.set_epoch(cursor.epoch, cursor.batch)
        self.parts.network.train()
        stream = iter(loader)
        while cursor.batch < len(loader) and cursor.step < self.total:
            count = min(self.config.accum, len(loader) - cursor.batch)
            batches, extra, error = self._fetch(stream, count, interruption)
            facts = self._agree(batches, error, interruption)
            if facts.signal:  # an error beside it is likely its consequence
                return self._agreed_signal(interruption)
            if facts.error:
                raise next(problem for problem in self.ranks.gather(error) if problem is not None)
            if facts.total != self.total:
                self._end_at(int(facts.total))
            self._step(batches, extra, facts)
            cursor.batch += count
            if facts.save:
                self.save()
        return 0

    def _fetch(
        self, stream: Iterator[PoseBatch], count: int, interruption: SignalHandler
    ) -> tuple[list[PoseBatch], PoseBatch | None, SiaError | None]:
        """The labelled batches of one step and the unlabelled one, or the error that one of them met.

        Nothing where a signal came: this step is the first of the continued run.
        """
        extra = self.parts.unlabelled
        try:
            with interruption.at_once():
                batches = [next(stream) for _ in range(count)]
                return batches, None if extra is None else extra.batch(self.cursor.step), None
        except SiaError as error:
            return [], None, error
        except Interrupted:
            return [], None, None

    def _agree(self, batches: list[PoseBatch], error: SiaError | None, interruption: SignalHandler) -> StepFacts:
        """The one exchange before a step, for all that the ranks must agree upon."""
        main, total, deadline, plan = self.ranks.is_main, self.total, self.parts.deadline, self.parts.plan
        if main and deadline is not None and self._phase is plan.phases[-1]:  # only the last phase is made shorter
            total = deadline.fit(self.cursor.step, total, plan.total_steps)
        facts = StepFacts(
            people=sum(int(batch.people.sum()) for batch in batches),
            images=sum(len(batch.image_ids) for batch in batches),
            signal=interruption.signal > 0,
            error=error is not None,
            save=main and time.monotonic() - self._saved > 60 * self.config.save_minutes,
            total=total if main else 0,
        )
        return StepFacts(*self.ranks.sum(*facts))

    def _end_at(self, total: int) -> None:
        """Fits what is left of the schedule to another number of steps, on all ranks."""
        before, self.cursor.total = self.total, total
        scheduler = self.state.scheduler
        end_schedule_at(scheduler, scheduler.last_epoch + total - self.cursor.step)
        self.parts.progress.expect(total)
        self.parts.progress.say(f"The speed has changed: {total} steps instead of {before} fit into -TIME.")

    def _step(self, batches: list[PoseBatch], extra: PoseBatch | None, facts: StepFacts) -> None:
        """One step of the optimiser."""
        step, unlabelled = self.cursor.step, self.parts.unlabelled
        if step == 0 and self.parts.visualizer is not None:
            self.parts.visualizer.training_batch(batches[0])
        people = max(facts.people / self.ranks.world_size, 1.0)
        shares = [WeightedBatch(batch, people) for batch in batches]
        if extra is not None and unlabelled is not None:
            # As many people an image as the labelled ones have: the fewer are trusted, the less these images count.
            people = people * len(extra.files) * self.ranks.world_size / int(facts.images)
            shares.append(WeightedBatch(extra, people, unlabelled.weight(step), "_unlabelled"))
        losses = self._update(self._backward(shares), [share.batch for share in shares])
        self._count(losses, int(facts.images))

    def _backward(self, shares: list[WeightedBatch]) -> dict[str, Tensor]:
        """Gradients of all batches of a step; DistributedDataParallel averages them over the ranks."""
        losses: dict[str, Tensor] = {}
        network = self.parts.network
        for number, share in enumerate(shares):
            quiet: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
            if number < len(shares) - 1 and isinstance(network, nn.parallel.DistributedDataParallel):
                quiet = network.no_sync()  # gradients are exchanged after the last batch of a step only
            with quiet:
                parts = self._losses(share)
                torch.autograd.backward(self.state.scaler.scale(torch.stack(list(parts.values())).sum()))
            for name, value in parts.items():
                losses[name] = losses[name] + value.detach() if name in losses else value.detach()
        return losses

    def _losses(self, share: WeightedBatch) -> dict[str, Tensor]:
        dtype, batch = self.parts.plan.dtype, share.batch.to(self._device)
        statistics = keep_statistics(self.state.model) if share.suffix else contextlib.nullcontext()
        with statistics, torch.autocast(self._device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = self.parts.network(batch.images, batch)
        losses: dict[str, Tensor] = self._criterion(output, batch, share.people)
        if share.suffix:  # pseudo-labels say nothing of what is visible, nor of the errors of those who made them
            losses |= {name: 0 * losses[name] for name in ("visibility", "sigma") if name in losses}
        return {f"{name}{share.suffix}": share.weight * value for name, value in losses.items()}

    def _update(self, losses: dict[str, Tensor], batches: list[PoseBatch]) -> dict[str, float]:
        """Moves the weights, unless something is not finite on any rank."""
        state = self.state
        state.scaler.unscale_(state.optimizer)
        limit = self.config.clip or float("inf")
        norms = [whole(nn.utils.clip_grad_norm_(part, limit)).to(self._device) for part in self._parameters]
        numbers = torch.stack([*losses.values(), torch.stack(norms).amax()]).tolist()
        values = dict(zip(losses, numbers, strict=False))
        self._check_finite(values, numbers[-1], batches)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.scheduler.step()
        # Batch normalisation estimates its statistics on each rank's part; their mean is that of the whole batch.
        self.ranks.average(self._statistics)
        state.ema.update_parameters(state.model)
        return values

    def _check_finite(self, values: dict[str, float], norm: float, batches: list[PoseBatch]) -> None:
        """All ranks stop together, before the update; fp16 skips steps by itself until its scale has adapted."""
        scaler = self.state.scaler
        overflow = scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE
        fine = all(map(isfinite, values.values())) and (isfinite(norm) or overflow)
        if not self.ranks.any(not fine):
            return
        local = {"files": [file for batch in batches for file in batch.files], "losses": values, "fine": fine}
        reports = self.ranks.gather(local)
        culprits = [report for report in reports if not all(map(isfinite, report["losses"].values()))] or reports
        files = ", ".join(file for report in culprits for file in report["files"])
        parts = ", ".join(f"{name} {value:.4g}" for name, value in culprits[0]["losses"].items())
        raise TrainingError(
            f"The loss or its gradient (norm {norm:.4g}) is not finite at step {self.cursor.step + 1}, epoch "
            f"{self.cursor.epoch + 1}; the weights were not changed. Losses: {parts}. Images of this step: {files}. "
            "Look at them and their annotations, or use a lower -LR."
        )

    def _count(self, values: dict[str, float], images: int) -> None:
        cursor = self.cursor
        cursor.step += 1
        cursor.steps += 1
        for name, value in values.items():
            cursor.sums[name] = cursor.sums.get(name, 0.0) + value
        self.parts.progress.update(f"{cursor.epoch + 1}/{self.config.epoch}", sum(values.values()), images)

    def _agreed_signal(self, interruption: SignalHandler) -> int:
        return int(max(self.ranks.gather(interruption.signal)))

    def _finish_epoch(self, interruption: SignalHandler) -> None:
        """Evaluates, writes the row, and saves."""
        cursor, config, began = self.cursor, self.config, time.monotonic()
        number = cursor.epoch + 1
        last = number == config.epoch or cursor.step >= self.total
        evaluated = number % config.eval_every == 0 or last
        rates, metrics, improved = learning_rates(self.state.optimizer), None, False
        if evaluated:
            self.save()  # an evaluation takes long: nothing is lost if the run is killed in it
            self.metrics = metrics = self._evaluate(interruption)
            self._measured = {"epoch": number, "step": cursor.step, **plain(metrics.to_dict())}
            improved = cursor.best < metrics.AP or config.certainty_only
            cursor.best = max(cursor.best, metrics.AP)
            cursor.stale = 0 if improved else cursor.stale + config.eval_every
        row = self._row(number, rates, metrics)
        cursor.epoch, cursor.batch, cursor.sums, cursor.steps = number, 0, {}, 0
        with self.ranks.shared_errors():
            if self.ranks.is_main:
                self._publish(row, improved, evaluated)
        self._change_phase()
        self.save()
        self.parts.progress.pause()
        if self.parts.deadline is not None:
            self.parts.deadline.pause(time.monotonic() - began)

    def _change_phase(self) -> None:
        """Enters the phase of the next epoch, before what is saved: a checkpoint holds the optimiser of its epoch."""
        phase = phase_at(self.parts.plan.phases, self.cursor.epoch)
        if phase is self._phase:
            return
        state, self._phase = self.state, phase
        self.parts.network = state.model  # the wrap of the phase before goes first
        state.optimizer, state.scheduler = start_phase(state.model, phase, self.config.wd)
        state.ema.separate(state.model)
        self._parameters = _trained(state.model)
        self.parts.network = wrap(state.model, self.ranks)
        self.parts.progress.say(f"From epoch {self.cursor.epoch + 1} on the backbone learns too.")

    def _publish(self, row: dict[str, float | int | None], improved: bool, evaluated: bool) -> None:
        """What the first rank writes of a finished epoch."""
        parts, last = self.parts, self.finished
        parts.report(row, improved)
        if improved:
            save_checkpoint(parts.folder.best, self._weights())
        if evaluated and self.config.save:
            save_checkpoint(parts.folder.epoch_weights(self.cursor.epoch), self._weights())
        if parts.visualizer is not None:
            parts.visualizer.epoch(self.state.ema.module, evaluated, last)

    def _evaluate(self, interruption: SignalHandler | None = None) -> Metrics:
        self.state.ema.gather()
        return evaluate_model(
            self.state.ema.module, self.parts.data.validation, self.config.val_ann, self.parts.skeleton, self._device,
            interruption=interruption,
        )  # fmt: skip

    def _row(self, number: int, rates: dict[str, float], metrics: Metrics | None) -> dict[str, float | int | None]:
        """One row of results.csv; the losses are means over the steps of the epoch and all ranks."""
        cursor = self.cursor
        names = list(cursor.sums)
        sums = self.ranks.sum(*cursor.sums.values()) if names else []
        share = self.ranks.world_size * max(cursor.steps, 1)
        self._tick()
        return {
            "epoch": number,
            "step": cursor.step,
            "seconds": round(cursor.seconds, 1),
            "loss": sum(sums) / share,
            **{f"loss_{name}": value / share for name, value in zip(names, sums, strict=True)},
            **{f"lr_{name}": rate for name, rate in rates.items()},
            **(metrics.figures() if metrics is not None else {}),
        }

    def save(self) -> None:
        """last.pt; all ranks must call it."""
        self._tick()
        self.state.ema.gather()
        start = self.parts.pretrained
        training = {
            "config": self.config.to_dict(),
            "identity": self.parts.data.identity(),
            "budget": None if self.parts.deadline is None else self.parts.deadline.to_dict(self.parts.plan.total_steps),
            "pretrained": {name: getattr(start, name) for name in SavedStart.__struct_fields__},
            **self.state.to_dict(self.ranks),
        }
        with self.ranks.shared_errors():
            if self.ranks.is_main:
                save_checkpoint(self.parts.folder.last, {**self._weights(), "training": training})
        self._saved = time.monotonic()

    def _weights(self) -> dict[str, Any]:
        weights = plain_weights(self.state.ema.module)
        return {"format": FORMAT, **self.parts.description, "weights": weights, "metrics": self._measured}

    def _tick(self) -> None:
        now = time.monotonic()
        self.cursor.seconds += now - self._clock
        self._clock = now


def _trained(model: nn.Module) -> list[list[nn.Parameter]]:
    """What is trained, and apart from it the certainty head: its gradient must not clip that of the rest."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [[parameter for name, parameter in named if name.startswith(CERTAINTY) == own] for own in (False, True)]
