"""The people found in one image.

Coordinates are continuous: x to the right, y down, pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class People:
    """The N people of one image, best score first, in original pixels.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2.
        scores: (N,) float32 in [0, 1], the model's own estimate of how well the person is found.
        keypoints: (N, K, 2) float32, x, y; may lie outside the image.
        confidences: (N, K) float32 in [0, 1], expected closeness of each keypoint.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    confidences: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> People:
        """Those whose score is at least the threshold."""
        return self.rows(self.scores >= threshold)

    def rows(self, index: Sequence[int] | NDArray[np.bool_] | NDArray[np.intp]) -> People:
        """Some of them, in the order of the index."""
        return People(self.boxes[index], self.scores[index], self.keypoints[index], self.confidences[index])
