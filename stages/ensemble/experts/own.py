"""The project's own models as partners: they see whole images, and their people are matched to the boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sia.evaluation.labels import box_overlaps
from sia.evaluation.predictions import Array
from sia.people import People
from sia.runtimes.predictor import RUNTIMES, Predictor
from sia.runtimes.views import back, second_view
from stages.ensemble.experts.expert import Poses

SAME = 0.3
"""Least IoU of a person's box with the box that was asked for."""


@dataclass(frozen=True)
class View:
    """How an image is shown to a model.

    Attributes:
        flip: mirrored.
        scale: of the input's sides.
    """

    flip: bool = False
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{'flip' if self.flip else 'plain'}-{self.scale:g}"


class OwnExpert:
    """One view of one model of ours."""

    def __init__(self, predictor: Predictor, view: View = View()) -> None:
        height, width = predictor.image_size
        size = (max(32, round(height * view.scale)), max(32, round(width * view.scale)))
        self.predictor, self.view = Predictor(predictor.runtime, size), view

    @classmethod
    def load(cls, path: Path, device: str) -> OwnExpert:
        """Opens any file that `Predictor` takes; exports of models run on the CPU, whatever the device of the others.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device can't be used, or a package is missing.
        """
        return cls(Predictor.load(path, "cpu" if path.suffix.lower() in RUNTIMES else device))

    def find(self, image: NDArray[np.uint8]) -> People:
        """All people in the image (H, W, 3) uint8 RGB, best first, in its pixels."""
        if not self.view.flip:
            return self.predictor.predict([image])[0]
        mirrored = self.predictor.predict([second_view(image, self.predictor.skeleton)])[0]
        return back(mirrored, image.shape[1], self.predictor.skeleton)

    def predict(self, image: NDArray[np.uint8], boxes: Array) -> Poses:
        """See `Expert`; K is that of the model's skeleton."""
        people = self.find(image)
        count = self.predictor.skeleton.num_keypoints
        keypoints, confidences = np.full((len(boxes), count, 2), np.nan), np.zeros((len(boxes), count))
        overlaps = box_overlaps(boxes, people.boxes.astype(np.float64))
        rows, columns = linear_sum_assignment(-overlaps)
        near = overlaps[rows, columns] >= SAME
        rows, columns = rows[near], columns[near]
        keypoints[rows], confidences[rows] = people.keypoints[columns], people.confidences[columns]
        return Poses(keypoints, confidences)
