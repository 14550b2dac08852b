"""How long each part of a job takes for an image or frame."""

from __future__ import annotations

from statistics import median

_WARM_UP = 2
"""Batches that are slower than the rest: memory is claimed, kernels are chosen."""


class Pace:
    """Collects what the batches took, part by part."""

    def __init__(self) -> None:
        self._milliseconds: dict[str, list[float]] = {}

    def add(self, part: str, seconds: float, items: int) -> None:
        """A batch of so many items took so long in this part of the work."""
        self._milliseconds.setdefault(part, []).append(1000 * seconds / items)

    def medians(self) -> dict[str, float]:
        """Milliseconds an item for each part; without the first batches where there are others."""
        return {part: round(median(all_[_WARM_UP:] or all_[1:] or all_), 2) for part, all_ in self._milliseconds.items()}
