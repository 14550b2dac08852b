"""Which sample comes when: decided by seed, epoch and rank alone, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class SampleKey(NamedTuple):
    """One sample to make.

    Attributes:
        image: index of the image in the data set.
        epoch: the epoch.
        position: of the sample in the epoch's order over all ranks; with seed and epoch it seeds every random draw.
        mosaic: whether the full augmentation is on, or the plain one of the last phase.
    """

    image: int
    epoch: int = 0
    position: int = 0
    mosaic: bool = False


class TrainingBatches:
    """Shuffled batches of one rank; every rank has the same number of them.

    The order is a permutation by (seed, epoch). Rank r takes positions r, r + world_size and so on. What doesn't fill
    a batch on every rank is left out of this epoch; a data set smaller than that is repeated until one batch is full.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, rank: int, world_size: int) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.start, self.mosaic = 0, 0, True

    @property
    def per_epoch(self) -> int:
        """Batches in a whole epoch, on each rank."""
        return max(self.length // (self.batch_size * self.world_size), 1)

    def __len__(self) -> int:
        return self.per_epoch - self.start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        for number in range(self.start, self.per_epoch):
            first = number * self.batch_size * self.world_size + self.rank
            positions = range(first, first + self.batch_size * self.world_size, self.world_size)
            yield [SampleKey(int(order[p % self.length]), self.epoch, p, self.mosaic) for p in positions]


class ValidationBatches:
    """Batches in file order; over all ranks each image comes exactly once, so the last batch may be smaller."""

    def __init__(self, length: int, batch_size: int, *, rank: int, world_size: int) -> None:
        self.indices = range(rank, length, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, len(self.indices), self.batch_size):
            yield [SampleKey(index) for index in self.indices[first : first + self.batch_size]]
