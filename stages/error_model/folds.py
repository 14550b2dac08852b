"""The calibration split, dealt into folds: what is applied to one was chosen on the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sia.coco.coco_files import GroundTruth, load_ground_truth, load_skeleton
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.labels import LabelledPeople, Rows, labelled_people
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import Skeleton
from stages.stage import StageInput

FOLDS = 5


@dataclass(frozen=True)
class CalibrationSet:
    """The images that everything is chosen with.

    Attributes:
        path: their annotations.
        truth: the same, read.
        skeleton: of all.
        seed: of the folds.
    """

    path: Path
    truth: GroundTruth
    skeleton: Skeleton
    seed: int

    @classmethod
    def open(cls, work: StageInput) -> CalibrationSet:
        """Reads the labels.

        Raises:
            DataError: they can't be used.
        """
        path = work.splits["calibrate"]
        skeleton = load_skeleton(path)
        return cls(path, load_ground_truth(path, skeleton), skeleton, work.config.seed)

    @cached_property
    def labels(self) -> LabelledPeople:
        """Of the people."""
        return labelled_people(self.truth)

    @cached_property
    def folds(self) -> tuple[Rows, ...]:
        """Image ids of each fold."""
        order = np.random.default_rng(self.seed).permutation(np.array(sorted(set(self.truth.images)), np.int64))
        return tuple(np.array_split(order, FOLDS))

    def halves(self) -> tuple[Rows, Rows]:
        """Image ids of either half."""
        order = np.concatenate(self.folds)
        return order[: len(order) // 2], order[len(order) // 2 :]

    def read(self, results: Path) -> Predictions:
        """People found in these images.

        Raises:
            DataError: the file can't be used.
        """
        return read_predictions(results, self.truth, self.skeleton)

    def precision(self, people: Predictions) -> float:
        """AP."""
        return max(0.0, evaluate(self.path, people.rows(self.truth.category), self.skeleton).AP)
