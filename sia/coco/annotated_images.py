"""The images that an annotation file names: where they are, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth
from sia.coco.image_name import locate_files
from sia.errors import DataError
from sia.io.images import read_image


class AnnotatedImages:
    """N images in the order of the file. Arrays, so that worker processes share memory.

    Args:
        root: the folder of the images, or COCO's own layout with ``train2017/`` or ``val2017/`` below it.
        annotation_file: for messages.
        ids: of the images.
        names: ``file_name`` of each.
        sizes: (N, 2) height and width of each.

    Raises:
        DataError: the root is no folder, files are missing, or a name is in several sub folders.
    """

    def __init__(
        self, root: Path, annotation_file: Path, ids: Sequence[int] | NDArray[np.int64], names: Sequence[str],
        sizes: NDArray[np.int32],
    ) -> None:  # fmt: skip
        self.root, self.annotation_file = root, annotation_file
        self.ids, self.sizes = np.array(ids, np.int64), sizes
        located = locate_files(root, names, self.ids.tolist(), annotation_file)
        self._paths, self.foreign = np.array(located.paths), len(located.foreign)

    @classmethod
    def of(cls, truth: GroundTruth, root: Path, annotation_file: Path) -> AnnotatedImages:
        """Those of annotations that were loaded to open the images."""
        sizes = np.array([(row["height"], row["width"]) for row in truth.rows], np.int32).reshape(-1, 2)
        return cls(root, annotation_file, truth.images, [row["file_name"] for row in truth.rows], sizes)

    def __len__(self) -> int:
        return len(self.ids)

    def file(self, index: int) -> Path:
        """Path of one image."""
        return self.root / str(self._paths[index])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of one image."""
        height, width = self.sizes[index]
        return int(height), int(width)

    def read_image(self, index: int, shrink: int = 1) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB with EXIF orientation applied; see `sia.io.images.read_image` for ``shrink``.

        Raises:
            DataError: the image is broken, or its size is not the annotated one.
        """
        image = read_image(self.file(index), shrink)
        (height, width), got = self.size(index), image.shape[:2]
        expected = [(height, width), (-(-height // shrink), -(-width // shrink))]
        if got not in expected:
            raise DataError(
                f"{self.file(index)}: this image is {got[1]}x{got[0]}, but {self.annotation_file.name} says "
                f"{width}x{height}. Annotate the image as a viewer shows it (EXIF orientation applied)."
            )
        return image
