"""The training loop: steps, epochs, saves, and what stops it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sia.backbones.lora import plain_weights
from sia.batch import PoseBatch
from sia.commands.signals import Interrupted, SignalHandler
from sia.errors import SiaError, TrainingError
from sia.io.checkpoint import FORMAT, save_checkpoint
from stages.evaluation.evaluator import evaluate_model
from stages.training.context import StepSync, TrainerContext, WeightedBatch
from stages.training.phases import phase_at, start_phase
from stages.training.state import plain
from utils.distributed.context import keep_statistics, running_statistics, wrap
from utils.metrics.coco_eval import Metrics
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
        self._measured: dict[str, Any] = {}  # the figures in the weights file, and when they were taken
        self._device = parts.ranks.device.torch
        self._phase = phase_at(parts.plan.phases, self.cursor.epoch)
        self._parameters = trained_parameters(parts.state.model)
        self._statistics = running_statistics(parts.state.model)
        self._saved = self._clock = time.monotonic()

    def run(self, interruption: SignalHandler) -> int:
        """Trains.

        Returns:
            0, or the number of the signal that ended it, after saving.

        Raises:
            TrainingError: the loss is not finite.
        """
        while not self.finished and not self.fell:
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
    def finished(self) -> bool:
        """Whether the last epoch is over, its evaluation included; the last epoch of a run with -TIME is cut short."""
        cut = self.cursor.step >= self.total and self.cursor.batch == 0
        return cut or self.cursor.epoch >= self.config.epoch

    @property
    def fell(self) -> bool:
        """Whether the held-out AP has stayed below its best for as long as is waited for it."""
        return self.parts.patience is not None and self.cursor.stale >= self.parts.patience

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
        loader, cursor = self.parts.training, self.cursor
        if cursor.batch >= len(loader):
            return 0
        loader.set_mosaic(cursor.epoch < self.config.epoch - self.parts.plan.plain_epochs)
        loader.set_epoch(cursor.epoch, cursor.batch)
        self.parts.network.train()
        stream = iter(loader)
        while cursor.batch < len(loader) and cursor.step < self.total:
            count = min(self.config.accum, len(loader) - cursor.batch)
            batches, extra, error = self._fetch(stream, count, interruption)
            agreed = self._agree(batches, error, interruption.signal)
            if agreed.signal:
                return agreed.signal
            if agreed.total != self.total:
                self._end_at(agreed.total)
            self._step(batches, extra, agreed)
            cursor.batch += count
            if agreed.save:
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

    def _agree(self, batches: list[PoseBatch], error: SiaError | None, signal: int) -> StepSync:
        """One exchange for all that the ranks must agree upon before a step."""
        people = sum(int(batch.people.sum()) for batch in batches)
        images = sum(len(batch.image_ids) for batch in batches)
        due = self.ranks.is_main and time.monotonic() - self._saved > 60 * self.config.save_minutes
        total = self._fitting_total() if self.ranks.is_main else 0
        totals = self.ranks.sum(people, images, signal > 0, due, error is not None, total)
        number = max(self.ranks.gather(signal)) if totals[2] else 0
        if totals[4] and not number:  # an error beside a signal is likely its consequence
            raise next(problem for problem in self.ranks.gather(error) if problem is not None)
        people_each = max(totals[0] / self.ranks.world_size, 1.0)
        return StepSync(people_each, int(totals[1]), number, totals[3] > 0, int(totals[5]))

    def _fitting_total(self) -> int:
        """How many steps the run should have; only the last phase is made shorter."""
        deadline, plan = self.parts.deadline, self.parts.plan
        if deadline is None or self._phase is not plan.phases[-1]:
            return self.total
        return deadline.fit(self.cursor.step, self.total, plan.total_steps)

    def _end_at(self, total: int) -> None:
        """Fits what is left of the schedule to another number of steps, on all ranks."""
        before, self.cursor.total = self.total, total
        scheduler = self.state.scheduler
        end_schedule_at(scheduler, scheduler.last_epoch + total - self.cursor.step)
        self.parts.progress.expect(total)
        self.parts.progress.say(f"The speed has changed: {total} steps instead of {before} fit into -TIME.")

    def _step(self, batches: list[PoseBatch], extra: PoseBatch | None, agreed: StepSync) -> None:
        """One step of the optimiser."""
        if self.cursor.step == 0 and self.parts.visualizer is not None:
            self.parts.visualizer.training_batch(batches[0])
        shares = [WeightedBatch(batch, agreed.people) for batch in batches]
        if extra is not None and self.parts.unlabelled is not None:
            # As many people an image as the labelled ones have: the fewer are trusted, the less these images count.
            people = agreed.people * len(extra.files) * self.ranks.world_size / agreed.images
            shares.append(WeightedBatch(extra, people, self.parts.unlabelled.weight(self.cursor.step), "_unlabelled"))
        losses = self._backward(shares)
        self._count(self._update(losses, [share.batch for share in shares]), agreed.images)

    def _backward(self, shares: list[WeightedBatch]) -> dict[str, Tensor]:
        """Gradients of all batches of a step; DistributedDataParallel averages them over the ranks."""
        losses: dict[str, Tensor] = {}
        for number, share in enumerate(shares):
            with self._quiet(number < len(shares) - 1):
                parts = self._losses(share)
                torch.autograd.backward(self.state.scaler.scale(torch.stack(list(parts.values())).sum()))
            for name, value in parts.items():
                losses[name] = losses[name] + value.detach() if name in losses else value.detach()
        return losses

    def _quiet(self, more: bool) -> contextlib.AbstractContextManager[None]:
        """No exchange of gradients before the last batch of a step."""
        if more and isinstance(self.parts.network, nn.parallel.DistributedDataParallel):
            return self.parts.network.no_sync()
        return contextlib.nullcontext()

    def _losses(self, share: WeightedBatch) -> dict[str, Tensor]:
        dtype, batch = self.parts.plan.dtype, share.batch.to(self._device)
        statistics = keep_statistics(self.state.model) if share.suffix else contextlib.nullcontext()
        with statistics, torch.autocast(self._device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = self.parts.network(batch.images, batch)
        losses: dict[str, Tensor] = self.parts.criterion(output, batch, share.people)
        return {f"{name}{share.suffix}": share.weight * value for name, value in losses.items()}

    def _update(self, losses: dict[str, Tensor], batches: list[PoseBatch]) -> dict[str, float]:
        """Moves the weights, unless something is not finite on any rank."""
        state = self.state
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.config.clip or float("inf"))
        numbers = torch.stack([*losses.values(), norm.to(self._device)]).tolist()
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
        fine = all(map(_finite, values.values())) and (_finite(norm) or overflow)
        if not self.ranks.any(not fine):
            return
        local = {"files": [file for batch in batches for file in batch.files], "losses": values, "fine": fine}
        reports = self.ranks.gather(local)
        culprits = [report for report in reports if not all(map(_finite, report["losses"].values()))] or reports
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
        cursor, config = self.cursor, self.config
        number = cursor.epoch + 1
        last = number == config.epoch or cursor.step >= self.total
        evaluated = number % config.eval_every == 0 or last
        rates = learning_rates(self.state.optimizer)
        if evaluated:
            self.save()  # an evaluation takes long: nothing is lost if the run is killed in it
            self.metrics = self._evaluate(interruption)
            self._measured = {"epoch": number, "step": cursor.step, **plain(self.metrics.to_dict())}
        row = self._row(number, rates, self.metrics if evaluated else None)
        cursor.epoch, cursor.batch, cursor.sums, cursor.steps = number, 0, {}, 0
        improved = evaluated and self.metrics is not None and cursor.best < self.metrics.AP
        cursor.stale = 0 if improved else cursor.stale + int(evaluated)
        if improved and self.metrics is not None:
            cursor.best = self.metrics.AP
        with self.ranks.shared_errors():
            if self.ranks.is_main:
                self._publish(row, improved, evaluated)
        self._change_phase()
        self.save()
        self.parts.progress.pause()

    def _change_phase(self) -> None:
        """Enters the phase of the next epoch, before what is saved: a checkpoint holds the optimiser of its epoch."""
        phase = phase_at(self.parts.plan.phases, self.cursor.epoch)
        if phase is self._phase:
            return
        state, self._phase = self.state, phase
        self.parts.network = state.model  # the wrap of the phase before goes first
        state.optimizer, state.scheduler = start_phase(state.model, phase, self.config.wd)
        state.ema.separate(state.model)
        self._parameters = trained_parameters(state.model)
        self.parts.network = wrap(state.model, self.ranks)
        self.parts.progress.say(f"From epoch {self.cursor.epoch + 1} on the backbone learns too.")

    def _publish(self, row: dict[str, float | int | None], improved: bool, evaluated: bool) -> None:
        """The files of a finished epoch, on the first rank."""
        folder, last = self.parts.folder, self.finished
        self._report(row, improved)
        if improved:
            save_checkpoint(folder.best, self._weights())
        if evaluated and self.config.save:
            save_checkpoint(folder.epoch_weights(self.cursor.epoch), self._weights())
        if self.parts.visualizer is not None:
            self.parts.visualizer.epoch(self.state.ema.module, evaluated, last)

    def _evaluate(self, interruption: SignalHandler | None = None) -> Metrics:
        return evaluate_model(
            self.state.ema.module, self.parts.validation, self.config.val_ann, self.parts.skeleton, self._device,
            interruption=interruption,
        )  # fmt: skip

    def _row(self, number: int, rates: dict[str, float], metrics: Metrics | None) -> dict[str, float | int | None]:
        """One row of results.csv; the losses are means over the steps of the epoch and all ranks."""
        cursor = self.cursor
        names = list(cursor.sums)
        sums = self.ranks.sum(*cursor.sums.values()) if names else []
        share = self.ranks.world_size * max(cursor.steps, 1)
        self._tick()
        figures = metrics.figures() if metrics is not None else {}
        return {
            "epoch": number,
            "step": cursor.step,
            "seconds": round(cursor.seconds, 1),
            "loss": sum(sums) / share,
            **{f"loss_{name}": value / share for name, value in zip(names, sums, strict=True)},
            **{f"lr_{name}": rate for name, rate in rates.items()},
            **figures,
        }

    def _report(self, row: dict[str, float | int | None], improved: bool) -> None:
        line = f"epoch {row['epoch']}/{self.config.epoch}  loss {row['loss']:.3f}"
        if "AP" in row:
            line += f"  AP {100 * (row['AP'] or 0):.1f}  AP50 {100 * (row['AP50'] or 0):.1f}"
            line += f"  AR {100 * (row['AR'] or 0):.1f}{'  (best so far)' if improved else ''}"
        self.parts.progress.say(line)
        if self.parts.results is not None:
            self.parts.results.add(row)
        if self.parts.dashboards is not None:
            self.parts.dashboards.log(row, self.cursor.step)

    def save(self) -> None:
        """last.pt; all ranks must call it."""
        self._tick()
        pretrained = self.parts.pretrained
        training = {
            "config": self.config.to_dict(),
            "identity": self.parts.identity,
            "budget": None if self.parts.deadline is None else self.parts.deadline.to_dict(self.parts.plan.total_steps),
            "pretrained": {"is_trained": pretrained.is_trained, "is_whole": pretrained.is_whole},
            **self.state.to_dict(self.ranks),
        }
        with self.ranks.shared_errors():
            if self.ranks.is_main:
                save_checkpoint(self.parts.folder.last, {**self._weights(), "training": training})
        self._saved = time.monotonic()

    def _weights(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **self.parts.description,
            "weights": plain_weights(self.state.ema.module),
            "metrics": self._measured,
        }

    def _tick(self) -> None:
        now = time.monotonic()
        self.cursor.seconds += now - self._clock
        self._clock = now


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Those that have a gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _finite(value: float) -> bool:
    return abs(value) < float("inf")
