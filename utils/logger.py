"""What a training tells: a progress bar or plain lines, results.csv, and TensorBoard or Weights & Biases on request."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from sia.errors import DataError, warn
from sia.io.first_edition import LOSSES
from sia.io.input_file import check_input_file
from sia.io.output_file import write_text
from sia.io.secrets import mask, read_key

PLAIN_SECONDS = 10.0
"""Between two progress lines where the output is no terminal."""


class Progress:
    """Loss, images/s and remaining time of a whole run; silent where `enabled` is false."""

    def __init__(self, total: int, initial: int, *, enabled: bool = True, stream: TextIO | None = None) -> None:
        """Starts the clock.

        Args:
            total: steps of the run.
            initial: steps done before, in a resumed run.
            enabled: false on all ranks but the first.
            stream: where to write; stderr.
        """
        self.total, self.initial, self.step, self.enabled = total, initial, initial, enabled
        self.stream = stream or sys.stderr
        self._images, self._rate = 0, 0.0
        self._started = self._shown = self._counted = time.monotonic()
        self._loss: float | None = None
        self._bar: tqdm[Any] | None = None
        if enabled and self.stream.isatty():
            self._bar = tqdm(
                total=total, initial=initial, unit="step", dynamic_ncols=True, file=self.stream, smoothing=0.05
            )

    def say(self, text: str) -> None:
        """Prints lines to stdout without tearing the bar."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def update(self, epoch: str, loss: float, images: int) -> None:
        """Counts one step.

        Args:
            epoch: such as ``3/50``.
            loss: of this step.
            images: seen in it by all processes.
        """
        self.step += 1
        self._images += images
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        now = time.monotonic()
        if now - self._counted >= 1 or self._rate == 0:
            rate = self._images / max(now - self._counted, 1e-6)
            self._rate = rate if self._rate == 0 else 0.7 * self._rate + 0.3 * rate
            self._images, self._counted = 0, now
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}", refresh=False)
            self._bar.set_postfix_str(f"loss {self._loss:.3f}, {self._rate:.1f} img/s", refresh=False)
            self._bar.update()
        elif self.enabled and (now - self._shown >= PLAIN_SECONDS or self.step == self.total):
            self._shown = now
            self.stream.write(self.line(epoch, now) + "\n")
            self.stream.flush()

    def line(self, epoch: str, now: float) -> str:
        """The plain form."""
        remaining = (now - self._started) / max(self.step - self.initial, 1) * (self.total - self.step)
        return (
            f"epoch {epoch}  step {self.step}/{self.total}  loss {self._loss or 0:.3f}  {self._rate:.1f} img/s  "
            f"remaining {clock(remaining)}"
        )

    def expect(self, total: int) -> None:
        """Another number of steps in the run."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def pause(self) -> None:
        """Leaves out what follows (an evaluation) from images/s, until the next step."""
        self._images, self._counted = 0, time.monotonic()

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


_RENAMED = {f"loss_{old}": f"loss_{new}" for old, new in LOSSES.items()}
"""Columns of the first edition."""


class ResultsFile:
    """results.csv: one row an epoch, rewritten whole so that a kill never leaves half a row."""

    def __init__(self, path: Path, epochs: int = 0) -> None:
        """Opens the file of a run; rows after the first `epochs`, those of the checkpoint it resumes from, are cut."""
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            self.rows = [row for row in read_results(path) if _epoch_of(row) <= epochs]

    def add(self, row: Mapping[str, float | int | None]) -> None:
        """Appends a row; None leaves a cell empty, and a new column is empty in earlier rows.

        Raises:
            OutputError: the file can't be written.
        """
        self.rows.append({name: _cell(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows of a results.csv, by column; cells beyond the last column are left out.

    Raises:
        DataError: it is no table; it is not written over.
    """
    check_input_file(path)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [{name: cell for name, cell in row.items() if name} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is not the table of a run ({error}). Move it away: the run writes a new one."
        ) from None
    return [{_RENAMED.get(name, name): cell for name, cell in row.items()} for row in rows]


def _epoch_of(row: Mapping[str, str]) -> float:
    try:
        return float(row["epoch"])
    except (KeyError, TypeError, ValueError):
        return float("inf")


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


Log = tuple[Callable[[dict[str, float | int], int], object], Callable[[], object]]
"""What takes values of a step, and what ends it."""


class Dashboards:
    """Those that were asked for, by the names of their packages for pip; a missing one is a warning, not an end.

    Attributes:
        warnings, lines: what to say about them.
    """

    def __init__(
        self, folder: Path, kinds: Collection[str], *, name: str, config: Mapping[str, Any], step: int = 0
    ) -> None:
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self._logs: dict[str, Log] = {}
        openers: dict[str, Callable[[], tuple[Log, str]]] = {
            "tensorboard": lambda: _tensorboard(folder, step),
            "wandb": lambda: _wandb(folder, name, config),
            "trackio": lambda: _trackio(folder, name, config),
            "mlflow": lambda: _mlflow(folder, name, config),
        }
        for kind, opener in openers.items():
            if kind in kinds:
                self._open(kind, opener)

    def _open(self, kind: str, opener: Callable[[], tuple[Log, str]]) -> None:
        try:
            log, line = opener()
        except ImportError:
            self.warnings.append(f"{kind} is not installed, so nothing is logged to it. pip install {kind}.")
        except Exception as error:  # they raise many kinds; a dashboard must never end a training
            self.warnings.append(f"{kind} could not start ({mask(str(error))}), so nothing is logged to it.")
        else:
            self._logs[kind] = log
            self.lines.append(line)

    def log(self, row: Mapping[str, float | int | None], step: int) -> None:
        """Sends one row of results."""
        values = {name: value for name, value in row.items() if value is not None}
        for kind, (log, _) in list(self._logs.items()):
            self._try(kind, partial(log, values, step))

    def close(self) -> None:
        """Writes what is left."""
        for kind, (_, close) in list(self._logs.items()):
            self._try(kind, close)

    def _try(self, kind: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            del self._logs[kind]
            warn(f"{kind} failed ({mask(str(error))}), so nothing more is logged to it.")


def _tensorboard(folder: Path, step: int) -> tuple[Log, str]:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log(values: dict[str, float | int], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return (log, writer.close), f"TensorBoard: tensorboard --logdir {folder}"


def _wandb(folder: Path, name: str, config: Mapping[str, Any]) -> tuple[Log, str]:
    import wandb

    key = read_key("WANDB_API_KEY")
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if key else "offline")
    run: Any = wandb.init(
        project="sia_pose", name=name, id=_run_id(folder, "wandb"), resume="allow", dir=str(folder), mode=mode,
        config=dict(config), settings=wandb.Settings(silent=True, console="off"),
    )  # fmt: skip
    return (lambda values, step: run.log(values, step=step), run.finish), f"Weights & Biases: {mode}, in {folder}/wandb"


def _trackio(folder: Path, name: str, config: Mapping[str, Any]) -> tuple[Log, str]:
    """On this machine; where it is kept is trackio's affair (TRACKIO_DIR)."""
    import trackio

    run = trackio.init(
        project="sia_pose", name=f"{name}-{_run_id(folder, 'trackio')[:6]}", resume="allow", config=dict(config),
        embed=False,
    )  # fmt: skip
    return (lambda values, step: run.log(values, step=step), trackio.finish), "trackio: trackio show --project sia_pose"


def _mlflow(folder: Path, name: str, config: Mapping[str, Any]) -> tuple[Log, str]:
    """In the run folder, unless MLFLOW_TRACKING_URI names another place."""
    from mlflow import MlflowClient

    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    client = MlflowClient(place)
    found = client.get_experiment_by_name("sia_pose")
    experiment = found.experiment_id if found else client.create_experiment("sia_pose", folder.absolute().as_uri())
    tag = _run_id(folder, "mlflow")
    runs = client.search_runs([experiment], f"tags.sia_pose_id = '{tag}'")
    run = runs[0] if runs else client.create_run(experiment, run_name=name, tags={"sia_pose_id": tag})
    number = run.info.run_id
    for key, value in config.items() if not runs else ():
        client.log_param(number, key, str(value)[:500])

    def log(values: dict[str, float | int], step: int) -> None:
        for key, value in values.items():
            client.log_metric(number, key, value, step=step)

    return (log, lambda: client.set_terminated(number)), f"MLflow: mlflow ui --backend-store-uri {mask(place)}"


def _run_id(folder: Path, kind: str) -> str:
    """Chosen once for a run folder, so that a resumed run goes on in the same curves, and no other run joins them."""
    file = folder / f"{kind}_id.txt"
    if not file.is_file():
        write_text(file, uuid.uuid4().hex[:16] + "\n")
    return file.read_text(encoding="utf-8").strip()
