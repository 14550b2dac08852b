"""What every partner of the ensemble can do."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sia.errors import WeightsError
from sia.evaluation.predictions import Array

COCO_JOINTS: dict[int, tuple[int, ...]] = {
    17: tuple(range(17)),
    133: tuple(range(17)),
    308: (0, 1, 2, 3, 4, 5, 6, 7, 8, 62, 41, 9, 10, 11, 12, 13, 14),
}
"""Where COCO's 17 keypoints are among those of COCO-WholeBody (133) and of Sapiens (308), by number of keypoints."""


class Poses(NamedTuple):
    """One pose a box.

    Attributes:
        keypoints: (N, 17, 2) x, y in the image's pixels; NaN where a model of whole images found nobody.
        confidences: (N, 17) in [0, 1]; 0 for these.
    """

    keypoints: Array
    confidences: Array


class Expert(Protocol):
    """A pose estimator that is told where the people are."""

    def predict(self, image: NDArray[np.uint8], boxes: Array) -> Poses:
        """The pose of the person in each box.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1, y1, x2, y2 in pixels; N may be 0.

        Raises:
            WeightsError: the model gives numbers that are not finite.
        """


def coco_joints(count: int, source: object) -> list[int]:
    """Which of a model's keypoints are COCO's, in COCO's order.

    Raises:
        WeightsError: nobody knows.
    """
    if count not in COCO_JOINTS:
        raise WeightsError(f"{source} predicts {count} keypoints; known are {', '.join(map(str, COCO_JOINTS))}.")
    return list(COCO_JOINTS[count])
