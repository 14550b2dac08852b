"""What inference on images and on videos have in common: announcements, the output folder, and times."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from sia.errors import warn
from sia.io.output_file import named_folder, numbered_folder
from sia.io.results import describe_rows
from sia.io.secrets import mask
from sia.runtimes.predictor import Predictor


def load_predictor(weights: Path, device: str, args: argparse.Namespace) -> Predictor:
    """A model as the flags want it: see `Predictor.load`."""
    return Predictor.load(weights, device, args.imgsz, args.roi_score_thresh, args.tta, args.roi_size, args.precision)


def announce(predictor: Predictor) -> None:
    """Says what runs where, and shouts when a GPU is left idle."""
    print(predictor.describe(), flush=True)
    if predictor.device.warning:
        warn(predictor.device.warning)


def describe_run(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """The start of run.json: how to read the results, and what made them; secrets in addresses are masked."""
    flags = {name: mask(str(value)) if isinstance(value, (Path, str)) else value for name, value in vars(args).items()}
    return {**describe_rows(predictor.skeleton), "model": predictor.describe(), "flags": flags}


def output_folder(wanted: Path | None, name: str) -> Path:
    """Makes a folder that is new, or empty.

    Raises:
        OutputError: no folder can be made there.
    """
    return named_folder(wanted) if wanted else numbered_folder(Path("runs"), name)


@contextlib.contextmanager
def remove_if_empty(folder: Path) -> Iterator[None]:
    """Takes the folder away again if the block ends in an error before anything was written to it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


class Timings:
    """Seconds that each image took, by step; the first batch of images warms the model up and is kept apart."""

    def __init__(self) -> None:
        self._seconds = defaultdict[str, list[float]](list)
        self._warm_up: list[float] = []

    @contextlib.contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Times the block, which is one image's."""
        begin = time.perf_counter()
        yield
        self._seconds[step].append(time.perf_counter() - begin)

    def add_batch(self, seconds: float, images: int) -> bool:
        """Notes the model's time for a batch; returns whether it was the first."""
        is_first = not self._warm_up
        (self._warm_up if is_first else self._seconds["model"]).extend([seconds / images] * images)
        return is_first

    def medians(self) -> dict[str, float]:
        """Milliseconds of an image: median of each step, and ``first_batch``, whose time has the model's warm-up in it.

        Where there was no other batch, ``model`` is that of the first.
        """
        model = self._seconds["model"] or self._warm_up
        steps = {**self._seconds, "model": model, "first_batch": self._warm_up}
        return {step: round(1000 * median(seconds), 3) for step, seconds in steps.items() if seconds}
