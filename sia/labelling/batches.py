"""Many images, read as they are needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sia.drawing.annotator import Image
from sia.errors import DataError
from sia.io.images import read_image

EVERY = 50
"""Images after which progress is said."""


def read_batches(files: Sequence[Path], size: int) -> Iterator[dict[Path, Image]]:
    """(H, W, 3) uint8 RGB images by path, so many at a time; those that can't be read are named on stderr.

    Raises:
        DataError: none can be read.
    """
    count = 0
    for begin in range(0, len(files), size):
        end = min(begin + size, len(files))
        batch = ((path, _read(path)) for path in files[begin:end])
        images = {path: image for path, image in batch if image is not None}
        count += len(images)
        if images:
            yield images
        if begin // EVERY != end // EVERY:
            print(f"{end} of {len(files)} images", file=sys.stderr, flush=True)
    if not count:
        raise DataError(f"None of the {len(files)} images can be read.")


def _read(path: Path) -> Image | None:
    try:
        return read_image(path)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return None
