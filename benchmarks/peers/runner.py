"""What all contestants have in common: one command line, one clock, one record of a training.

    python CONTESTANT.py train   --model M --data DIR --side 192 --minutes 30 --every 3 --seed 0 --output DIR
                            [--options KEY=VALUE ...]
    python CONTESTANT.py predict --model M --data DIR --side 192 --weights FILE --output results.json
    python CONTESTANT.py export  --model M --side 192 --weights FILE --runtime openvino --output DIR
    python CONTESTANT.py time    --model M --data DIR --side 192 --weights FILE --output time.json
    python CONTESTANT.py speed   --model M --data DIR --side 192 --minutes 3 --output DIR [--options KEY=VALUE ...]

Runs in the environments of all contestants, so it imports nothing that one of them lacks.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Run = Callable[[Any], object]
"""One image, as the contestant's own `read` gives it, through the whole model."""

CALIBRATION = 45.0
"""Most seconds of the training that measures the speed, which the length of the schedules is planned from."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: which of the contestant's models.
        data: folder laid out by `layout.prepare`.
        side: of the square input, pixels.
        minutes: of training, evaluation and loading of the program not counted.
        every: minutes between checkpoints.
        seed: of everything random.
        output: folder of the checkpoints.
        start: weights to start from; None is from scratch.
        options: the contestant's own settings, passed through.
    """

    model: str
    data: Path
    side: int
    minutes: float
    every: float
    seed: int
    output: Path
    start: Path | None
    options: dict[str, str]

    @property
    def seconds(self) -> float:
        """The whole budget."""
        return 60 * self.minutes

    @property
    def calibration(self) -> float:
        """Seconds of the calibration: a tenth of the budget at most."""
        return min(CALIBRATION, self.seconds / 10)


@dataclass(frozen=True)
class Checkpoint:
    """Weights during a training: where they lie, after how many seconds and images (repetitions counted)."""

    file: str
    seconds: float
    images: int


@dataclass
class Record:
    """What a training leaves behind for the scorer.

    Attributes:
        parameters: how many numbers the model has.
        versions: of the packages that did the work.
        plan: the schedule that was chosen, for the reader.
        checkpoints: in order of time.
    """

    parameters: int
    versions: dict[str, str]
    plan: Row
    checkpoints: list[Checkpoint] = field(default_factory=list)


class Clock:
    """Wall-clock of a training, and when its next checkpoint is due."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = time.monotonic()
        self._next = 60 * job.every

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    @property
    def share(self) -> float:
        """Of the budget, 0 to 1."""
        return min(1.0, self.seconds / self._job.seconds)

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.seconds >= self._job.seconds

    def due(self) -> bool:
        """True once for each checkpoint; a last one just before the end is left out."""
        if self.seconds < self._next:
            return False
        self._next += 60 * self._job.every
        return self._job.seconds - self.seconds > 30 * self._job.every


class Contestant(ABC):
    """A method that trains, predicts, and can be timed."""

    @abstractmethod
    def train(self, job: Job) -> Record:
        """Trains for the time of the job."""

    @abstractmethod
    def speed(self, job: Job) -> float:
        """Training images a second, loading included, over about the job's `calibration`."""

    @abstractmethod
    def predict(self, model: str, weights: Path, data: Path, side: int) -> list[Row]:
        """COCO keypoint results of the held-out images, boxes included, all scores."""

    @abstractmethod
    def read(self, image: Path) -> Any:
        """An image as `Run` takes it; not timed."""

    @abstractmethod
    def load(self, model: str, weights: Path, side: int) -> Run:
        """The model ready for one image at a time."""

    def export(self, weights: Path, side: int, runtime: str, output: Path) -> Path:
        """The same weights for another runtime; only called where latency.py says so."""
        raise NotImplementedError(runtime)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("verb", choices=("train", "predict", "export", "time", "speed"))
    parser.add_argument("--model", required=True, help="which of the contestant's models")
    parser.add_argument("--data", type=Path, help="folder laid out by layout.py")
    parser.add_argument("--side", type=int, default=192, help="of the square input in pixels (default: 192)")
    parser.add_argument("--output", type=Path, required=True, help="file or folder to write")
    parser.add_argument("--weights", type=Path, help="of a training; train starts from them")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="train: budget; speed: ten times what is measured (default: 30)"
    )
    parser.add_argument("--every", type=float, default=3.0, help="train: minutes between checkpoints (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="train, speed: of everything random (default: 0)")
    parser.add_argument("--runtime", help="export: what to")
    parser.add_argument("--images", type=int, default=20, help="time: images (default: 20)")
    parser.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="train, speed: the contestant's own settings"
    )
    return parser.parse_args(argv)


def main(contestant: Contestant, argv: Sequence[str] | None = None) -> int:
    """Entry point of every contestant."""
    args = parse_args(argv)
    if args.verb in ("train", "speed"):
        args.output.mkdir(parents=True, exist_ok=True)
    if args.verb == "speed":
        write(args.output / "speed.json", contestant.speed(make_job(args)))
    elif args.verb == "train":
        write(args.output / "record.json", asdict(contestant.train(make_job(args))))
    elif args.verb == "predict":
        write(args.output, contestant.predict(args.model, args.weights, args.data, args.side))
    elif args.verb == "export":
        print(contestant.export(args.weights, args.side, args.runtime, args.output))
    else:
        write(args.output, time_model(contestant, args))
    return 0


def make_job(args: argparse.Namespace) -> Job:
    """The training that the flags ask for."""
    options = dict(option.split("=", 1) for option in args.options)
    return Job(
        args.model, args.data, args.side, args.minutes, args.every, args.seed, args.output.resolve(), args.weights,
        options,
    )  # fmt: skip


def time_model(contestant: Contestant, args: argparse.Namespace) -> Row:
    """Milliseconds of each image, pre- and post-processing included, and the most memory this process ever had."""
    run = contestant.load(args.model, args.weights, args.side)
    files = sorted((args.data / "yolo" / "images" / "val").iterdir())[: args.images]
    images = [contestant.read(file) for file in files]
    for image in images:  # once before: a runtime may prepare itself for every shape that it meets
        run(image)
    times = []
    for image in images:
        begin = time.perf_counter()
        run(image)
        times.append(1000 * (time.perf_counter() - begin))
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return {"milliseconds": statistics.median(times), "megabytes": memory}


def write(path: Path, content: Any) -> None:
    """JSON that appears when it is complete."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(content))
    partial.replace(path)
