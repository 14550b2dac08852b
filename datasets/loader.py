"""Data loaders that yield `PoseBatch`: worker processes, exact order, clean errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from datasets.augmentation.transforms import Augmentation, training_sample, validation_sample
from datasets.coco.coco_pose import CocoPose
from datasets.labels import Array, Labels, Sample
from datasets.sampler import SampleKey, TrainingBatches, ValidationBatches
from datasets.workers import BatchWorkers, Samples
from sia.batch import PoseBatch
from sia.runtimes.letterbox import Matrix, scale_of

B = TypeVar("B")


class TrainingLoader(BatchWorkers[B]):
    """Iterate it once per epoch, after `set_epoch`.

    Every sample depends on seed, epoch and its position in the epoch only: not on the number of workers, nor on
    where a resumed epoch starts.
    """

    def __init__(self, batches: TrainingBatches, samples: Samples[B], workers: int, pin_memory: bool) -> None:
        super().__init__(samples, batches, workers, pin_memory)
        self._order = batches

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._order.per_epoch

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """What the next iteration yields: this epoch, from this batch on; skipped batches are not loaded."""
        self._order.epoch, self._order.start = epoch, start_batch

    def set_mosaic(self, enabled: bool) -> None:
        """False from the next iteration on: the last phase, with `Augmentation.plain`."""
        self._order.mosaic = enabled


ValidationLoader = BatchWorkers[PoseBatch]
"""Letterboxed images in file order; over all ranks each comes exactly once."""


def training_loader(
    dataset: CocoPose,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    workers: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    augmentation: Augmentation | None = None,
    pin_memory: bool = False,
) -> TrainingLoader[PoseBatch]:
    """Shuffled, augmented batches of H, W; the same number on every rank, all of ``batch_size``."""
    batches = TrainingBatches(len(dataset), batch_size, seed=seed, rank=rank, world_size=world_size)
    samples = _LabelledSamples(dataset, image_size, augmentation or Augmentation(), seed)
    return TrainingLoader(batches, samples, workers, pin_memory)


def validation_loader(
    dataset: CocoPose,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> ValidationLoader:
    """Letterboxed batches of H, W; the last one of a rank may be smaller, and a rank may have none."""
    batches = ValidationBatches(len(dataset), batch_size, rank=rank, world_size=world_size)
    return BatchWorkers(_LabelledSamples(dataset, image_size), batches, workers, pin_memory)


def collate(dataset: CocoPose, items: Sequence[tuple[Sample, Matrix]]) -> PoseBatch:
    """Stacks samples, padding people and ignored areas to the most that one of them has."""
    firsts = [sample.sources[0] for sample, _ in items]
    rows = [(scale_of(matrix), matrix[0, 2], matrix[1, 2]) for _, matrix in items]
    return batch_of(
        stacked([sample.image for sample, _ in items]),
        [sample.labels for sample, _ in items],
        image_ids=torch.tensor([dataset.image_id(index) for index in firsts]),
        letterboxes=torch.tensor(rows, dtype=torch.float32),
        sizes=torch.tensor([dataset.size(index) for index in firsts]),
        files=[" + ".join(str(dataset.file(index)) for index in sample.sources) for sample, _ in items],
    )


def stacked(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Images (H, W, 3) -> (N, 3, H, W)."""
    result = np.empty((len(images), 3, *images[0].shape[:2]), np.uint8)
    for channels, image in zip(result, images, strict=True):
        cv2.split(image, list(channels))  # fills the result in place, ten times faster than a transpose
    return torch.from_numpy(result)


def batch_of(
    images: torch.Tensor,
    labels: Sequence[Labels],
    *,
    image_ids: torch.Tensor,
    letterboxes: torch.Tensor,
    sizes: torch.Tensor,
    files: list[str],
) -> PoseBatch:
    """A `PoseBatch` of images and the labels of each, in its pixels."""
    counts = torch.tensor([len(label) for label in labels])
    return PoseBatch(
        images=images,
        boxes=_padded([label.boxes for label in labels]),
        keypoints=_padded([label.keypoints for label in labels]),
        areas=_padded([label.areas for label in labels]),
        people=torch.arange(int(counts.max()))[None] < counts[:, None],
        ignored=_padded([label.ignored for label in labels]),
        image_ids=image_ids,
        letterboxes=letterboxes,
        sizes=sizes,
        files=files,
    )


def _padded(arrays: Sequence[Array]) -> torch.Tensor:
    """(B, most, ...) float32, zeros beyond each array's rows."""
    padded = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


class _LabelledSamples(Samples[PoseBatch]):
    """Letterboxed, where there is no augmentation."""

    def __init__(
        self, dataset: CocoPose, image_size: tuple[int, int], augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.dataset, self.image_size, self.augmentation, self.seed = dataset, image_size, augmentation, seed

    def batch(self, keys: Sequence[SampleKey]) -> PoseBatch:
        return collate(self.dataset, [self._make(key) for key in keys])

    def _make(self, key: SampleKey) -> tuple[Sample, Matrix]:
        if self.augmentation is None:
            return validation_sample(self.dataset, key.image, self.image_size)
        rng = np.random.default_rng((self.seed, key.epoch, key.position))
        augmentation = self.augmentation if key.mosaic else self.augmentation.plain()
        return training_sample(self.dataset, key.image, self.image_size, augmentation, rng)
