"""The calibrate part, dealt into folds: what is applied to one was chosen on the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sia.coco.coco_files import load_ground_truth
from sia.skeletons.skeleton import Skeleton
from stages.error_model.labels import LabelledPeople, Rows, labelled_people
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions

FOLDS = 5

People = Mapping[str, Predictions]
"""Of parts, by their names."""


@dataclass(frozen=True)
class CalibrationSet:
    """The images that everything is chosen with.

    Attributes:
        path: their annotations.
        labels: of the people.
        folds: image ids of each fifth.
        skeleton: of all.
        category: that results are written under.
    """

    path: Path
    labels: LabelledPeople
    folds: tuple[Rows, ...]
    skeleton: Skeleton
    category: int

    @classmethod
    def open(cls, path: Path, skeleton: Skeleton, seed: int) -> CalibrationSet:
        """Reads the labels, and deals the images into folds."""
        truth = load_ground_truth(path, skeleton)
        order = np.random.default_rng(seed).permutation(np.array(sorted(set(truth.images)), np.int64))
        return cls(path, labelled_people(truth), tuple(np.array_split(order, FOLDS)), skeleton, truth.category)

    def precision(self, people: Predictions) -> float:
        """AP."""
        return max(0.0, evaluate(self.path, people.rows(self.category), self.skeleton).AP)

    def halves(self) -> tuple[Rows, Rows]:
        """Image ids of either half."""
        order = np.concatenate(self.folds)
        return order[: len(order) // 2], order[len(order) // 2 :]


@dataclass(frozen=True)
class Candidate:
    """What a way to make people better left.

    Attributes:
        people: of ``calibrate``, cross-fitted, and of ``test``; as they came in where it was refused.
        refused: why it was; empty otherwise.
        figures: for the report.
    """

    people: People
    refused: str
    figures: Mapping[str, Any]


def in_images(people: Predictions, image_ids: Rows) -> Predictions:
    """The people of some images."""
    chosen = np.isin(people.image_ids, image_ids)
    return people.select(chosen)
