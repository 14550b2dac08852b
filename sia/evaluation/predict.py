"""A model's people in the images of an annotation file, found by one process or by several."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotated_images import AnnotatedImages
from sia.coco.coco_files import Row
from sia.errors import ConfigError
from sia.io.results import Ids, coco_rows
from sia.runtimes.predictor import Predictor

Image = NDArray[np.uint8]
TIMED = 20
"""Images whose time is taken, after one that warms up."""


class Ranks(Protocol):
    """The processes that share the images."""

    @property
    def rank(self) -> int:
        """This one's number."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, on each."""

    def shared_errors(self) -> AbstractContextManager[None]:
        """Raises on all what one raises in the block."""


class Alone:
    """One process."""

    rank, world_size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        """The value."""
        return [value]

    def shared_errors(self) -> AbstractContextManager[None]:
        """Nothing to share."""
        return nullcontext()


def predict_images(
    predictor: Predictor, images: AnnotatedImages, category: Ids, *, batch_size: int = 16, threads: int = 2,
    ranks: Ranks | None = None, progress: Callable[[int], object] = lambda count: None,
) -> list[Row]:  # fmt: skip
    """COCO results of all images, ordered by image id, on every rank; each image counts once.

    Args:
        predictor: the model.
        images: of the annotations.
        category: id for the results, or that of each of several categories.
        batch_size: images at once.
        threads: that read images while the model works; 0 reads between batches.
        ranks: who shares the work.
        progress: is told the number of images of each batch.

    Raises:
        ConfigError: a number that makes no sense, or a batch that doesn't fit into the GPU's memory.
        DataError: an image can't be read.
        WeightsError: the model gives numbers that are not finite.
    """
    for flag, value, least in (("--batch_size", batch_size, 1), ("--workers", threads, 0)):
        if value < least:
            raise ConfigError(f"{flag} must be at least {least}, but is {value}.")
    ranks, rows = ranks or Alone(), list[Row]()
    with ranks.shared_errors():
        share = range(ranks.rank, len(images), ranks.world_size)
        batch: list[Image] = []
        for place, image in enumerate(_read_ahead(images, share, threads, batch_size)):
            batch.append(image)
            if len(batch) == batch_size or place == len(share) - 1:
                ids = images.ids[share[place + 1 - len(batch) : place + 1]].tolist()
                for image_id, people in zip(ids, predictor.predict(batch), strict=True):
                    rows += coco_rows(people, predictor.skeleton, image_id, category)
                progress(len(batch))
                batch = []
    shares = ranks.gather(rows)
    return sorted((row for rows in shares for row in rows), key=lambda row: int(row["image_id"]))


def _read_ahead(images: AnnotatedImages, indices: Iterable[int], threads: int, most: int) -> Iterator[Image]:
    """Images in order, at most so many of them read before they are asked for."""
    if not threads:
        yield from map(images.read_image, indices)
        return
    waiting: deque[Future[Image]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index in indices:
                waiting.append(pool.submit(images.read_image, index))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def time_model(predictor: Predictor, images: AnnotatedImages) -> dict[str, Any]:
    """Median milliseconds of an image by itself, from pixels to people; reading the file is not in it."""
    seconds = []
    for index in np.unique(np.linspace(0, len(images) - 1, TIMED + 1).astype(int)).tolist():
        image = images.read_image(index)
        begin = time.perf_counter()
        predictor.predict([image])
        seconds.append(time.perf_counter() - begin)
    taken = seconds[1:] or seconds
    return {"milliseconds": round(1000 * median(taken), 2), "images": len(taken), "model": predictor.describe()}
