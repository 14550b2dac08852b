"""The calibration split, dealt into folds: what is applied to one was chosen on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from sia.coco.coco_files import GroundTruth, load_ground_truth, load_skeleton
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.labels import LabelledPeople, Rows, labelled_people
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import Skeleton
from stages.stage import StageInput

FOLDS = 6

Member = TypeVar("Member")


@dataclass(frozen=True)
class CalibrationSet:
    """The images that everything is chosen with.

    Attributes:
        path: their annotations.
        truth: the same, read.
        skeleton: of all.
        seed: of the folds.
        groups: number of each image's group, which no fold divides; empty: every image is one.
    """

    path: Path
    truth: GroundTruth
    skeleton: Skeleton
    seed: int
    groups: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def open(cls, work: StageInput) -> CalibrationSet:
        """Reads the labels.

        Raises:
            DataError: they can't be used.
        """
        path = work.splits["calibrate"]
        skeleton = load_skeleton(path)
        return cls(path, load_ground_truth(path, skeleton), skeleton, work.config.seed, work.groups)

    @cached_property
    def labels(self) -> LabelledPeople:
        """Of the people."""
        return labelled_people(self.truth)

    @cached_property
    def folds(self) -> tuple[Rows, ...]:
        """Image ids of each fold."""
        groups: dict[int, list[int]] = {}
        for image_id in np.random.default_rng(self.seed).permutation(sorted(set(self.truth.images))).tolist():
            groups.setdefault(self.groups[image_id] if self.groups else image_id, []).append(image_id)
        return tuple(np.array(fold, np.int64) for fold in deal(list(groups.values()), FOLDS))

    def halves(self) -> tuple[Rows, Rows]:
        """Image ids of either half: every other fold."""
        return np.concatenate(self.folds[::2]), np.concatenate(self.folds[1::2])

    def folds_of(self, people: Predictions) -> Rows:
        """(N,) the number of each person's fold."""
        numbers = np.zeros(len(people), np.int64)
        for number, fold in enumerate(self.folds):
            numbers[np.isin(people.image_ids, fold)] = number
        return numbers

    def read(self, results: Path) -> Predictions:
        """People found in these images.

        Raises:
            DataError: the file can't be used.
        """
        return read_predictions(results, self.truth, self.skeleton)

    def precision(self, people: Predictions) -> float:
        """AP."""
        return max(0.0, evaluate(self.path, people.rows(self.truth.category), self.skeleton).AP)


def deal(groups: Sequence[Sequence[Member]], count: int) -> list[list[Member]]:
    """So many folds of nearly the same size: the largest group first, each whole into the smallest fold so far."""
    folds: list[list[Member]] = [[] for _ in range(count)]
    for group in sorted(groups, key=len, reverse=True):
        min(folds, key=len).extend(group)
    return folds
