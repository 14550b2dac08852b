"""The images that an annotation file names: where they are, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth
from sia.coco.image_name import ImageFolders, Located, problem_of_name
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
        located = _locate(root, names, self.ids, annotation_file)
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


def _locate(root: Path, names: Sequence[str], ids: NDArray[np.int64], annotation_file: Path) -> Located:
    """Where each named file is below the root."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of images. Give the folder of the images or COCO's root folder.")
    located = ImageFolders(root, annotation_file).locate(names)
    missing = [i for i, path in enumerate(located.paths) if path is None]
    for i in (*missing, *located.doubtful):
        problem = problem_of_name(names[i])
        if problem or i in located.doubtful:
            reason = problem or ", which may be the file of another image. Give a path inside the image folder."
            raise DataError(f"{annotation_file}: image {ids[i]} has file_name {names[i]!r}{reason}")
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(names)} images of {annotation_file.name} are missing, such as "
            f"{', '.join(names[i] for i in missing[:3])}. Give the folder that holds them, or its parent with "
            "train2017/ and val2017/."
        )
    return located
