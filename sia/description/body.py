"""One person's keypoints by name, with the errors to expect of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

Floats = NDArray[np.float64]
Point = Floats
"""(2,) x to the right, y down, in pixels."""

_LEAST_ERROR = 0.25
"""Least expected error of a keypoint, in units of COCO's tolerance: human labels are no better."""


class Body:
    """The keypoints of one person that may be spoken of.

    Args:
        skeleton: names and sigmas.
        box: (4,) x1, y1, x2, y2.
        keypoints: (K, 2), in the frame of the box.
        confidences: (K,), each the expected OKS term of its keypoint.
        variances: (K,) expected squared error of x, and of y; NaN where unknown: then the confidence tells it.
        threshold: keypoints less confident than this count as not found.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        box: Floats,
        keypoints: Floats,
        confidences: Floats,
        variances: Floats,
        threshold: float,
    ) -> None:
        self.names = skeleton.names
        self._index = {name: i for i, name in enumerate(skeleton.names)}
        self._points = keypoints
        self._found = (confidences >= threshold) & np.isfinite(keypoints).all(-1)
        sides = np.maximum(box[2:] - box[:2], 1.0)
        tolerance = 2 * np.asarray(skeleton.sigmas) * math.sqrt(AREA_OF_BOX * float(sides.prod()))
        off = np.sqrt(-np.log(np.clip(confidences, 1e-3, 1.0)))  # of x and of y each: 2 axes share the squared distance
        guessed = tolerance * np.maximum(off, _LEAST_ERROR)  # the error at which OKS would be the confidence
        self._errors = np.where(np.isfinite(variances), np.sqrt(np.maximum(variances, 0)), guessed)
        self.trunk = self._trunk_length(float(sides.max()))

    @property
    def found(self) -> list[str]:
        """Names of the keypoints that may be spoken of."""
        return [name for name, found in zip(self.names, self._found, strict=True) if found]

    def has(self, *names: str) -> bool:
        """Whether all of these were found."""
        return all(name in self._index and bool(self._found[self._index[name]]) for name in names)

    def knows(self, *names: str) -> bool:
        """Whether the skeleton has all of these."""
        return all(name in self._index for name in names)

    def point(self, name: str) -> Point:
        """Where it is."""
        return np.asarray(self._points[self._index[name]])

    def error(self, *names: str) -> float:
        """Expected error in pixels, of one coordinate, of the difference of these keypoints."""
        return math.sqrt(sum(float(self._errors[self._index[name]]) ** 2 for name in names))

    def middle(self, names: Sequence[str]) -> Point:
        """The mean of some keypoints."""
        return np.asarray(np.mean([self.point(name) for name in names], axis=0))

    def _trunk_length(self, side: float) -> float:
        """Pixels: shoulders to hips, or a guess from the box where they aren't there or the trunk is foreshortened."""
        shoulders, hips = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
        if not self.has(*shoulders, *hips):
            return 0.3 * side
        length = float(np.linalg.norm(self.middle(shoulders) - self.middle(hips)))
        return max(length, 0.15 * side)


def probability(margin: float, error: float) -> float:
    """That a value measured this far from a limit lies on the same side of it."""
    return 0.5 * (1 + math.erf(margin / max(error, 1e-9) / math.sqrt(2)))
