"""How long the steps of a job take."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median


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
