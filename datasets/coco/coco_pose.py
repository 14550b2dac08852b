"""A data set of images with people in COCO's keypoint format, for training and validation alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.coco.coco_file import read_coco_file
from datasets.labels import Labels
from sia.coco.annotated_images import AnnotatedImages
from sia.errors import DataError
from sia.skeletons.skeleton import Skeleton


class CocoPose(AnnotatedImages):
    """Images and people of one annotation file.

    All coordinates are continuous pixels of the image as a viewer shows it. People without keypoints are people;
    crowd regions are ignored areas; images without people are kept, as background.

    Args:
        image_root: the folder of the images, or COCO's own layout with ``train2017/`` or ``val2017/`` below it.
        annotation_file: COCO keypoint json.
        skeleton: if given, the file must declare the same keypoints.
        labelled: whether there has to be somebody; not where images are only looked at.

    Raises:
        DataError: the annotations or the image root have a fault; the message names it.
    """

    def __init__(
        self, image_root: Path, annotation_file: Path, *, skeleton: Skeleton | None = None, labelled: bool = True
    ) -> None:
        self._content = content = read_coco_file(annotation_file, skeleton, labelled=labelled)
        names = [str(name) for name in content.names]
        super().__init__(image_root, annotation_file, content.image_ids, names, content.sizes)
        edges = np.arange(len(self) + 1)
        self._people = np.searchsorted(content.owners, edges)
        self._regions = np.searchsorted(content.ignored_owners, edges)

    @property
    def skeleton(self) -> Skeleton:
        """Names, edges, flip pairs and sigmas of the keypoints."""
        return self._content.skeleton

    @property
    def report(self) -> dict[str, int]:
        """Annotations and joints that were not used as they stand, by reason."""
        found = {"images found by the last parts of their names": self.foreign} if self.foreign else {}
        return self._content.report | found

    @property
    def image_ids(self) -> list[int]:
        """Ids of all images, in the order of the file."""
        return [int(image_id) for image_id in self.ids]

    @property
    def files(self) -> list[Path]:
        """Paths of all images."""
        return [self.file(index) for index in range(len(self))]

    def image_id(self, index: int) -> int:
        """Id of one image in the annotation file."""
        return int(self.ids[index])

    def annotation(self, index: int) -> Labels:
        """The people and ignored areas of one image, in its pixels."""
        people = slice(self._people[index], self._people[index + 1])
        regions = slice(self._regions[index], self._regions[index + 1])
        content = self._content
        return Labels(content.boxes[people], content.keypoints[people], content.areas[people], content.ignored[regions])

    def describe(self) -> str:
        """A few lines for the log: what is in the data set, and what of the annotation file is not used and why."""
        labelled = np.any(self._content.keypoints[..., 2] > 0, axis=1)
        empty = int((np.diff(self._people) == 0).sum())
        lines = [
            f"{self.annotation_file}: {len(self)} images ({empty} without people), {len(self._content.boxes)} people "
            f"({int(labelled.sum())} with keypoints), {len(self._content.ignored)} ignored regions, "
            f"{self.skeleton.num_keypoints} keypoints of '{self.skeleton.category}'"
        ]
        lines += [f"  {reason}: {count}" for reason, count in sorted(self.report.items())]
        lines += [f"  {note}" for note in self._content.notes]
        return "\n".join(lines)


def mean_pose(dataset: CocoPose) -> NDArray[np.float32]:
    """(K, 2) mean of (keypoint - box centre) / box size over the labelled joints; 0 for a joint that is never labelled.

    Raises:
        DataError: no joint is labelled at all.
    """
    boxes, keypoints = dataset._content.boxes, dataset._content.keypoints
    labelled = keypoints[..., 2] > 0  # (M, K)
    if not labelled.any():
        raise DataError(
            f"{dataset.annotation_file}: no person has a labelled keypoint. Nothing can be learned from it."
        )
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    relative = (keypoints[..., :2] - centres[:, None]) / sizes[:, None] * labelled[..., None]
    counts = labelled.sum(axis=0)[:, None].clip(min=1)
    return np.asarray(relative.sum(axis=0, dtype=np.float64) / counts, np.float32)
