"""Stage 3: several models, and several views of one, are worth more together; how much each is worth is measured.

Everything is chosen on ``calibrate``, cross-fitted: each fifth of its pictures is fused with what the other four
taught. Its results there are therefore as honest as those on ``test``, and later stages can learn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.blend import Blend
from stages.calibration import Calibration
from stages.gather import INPUT, Gathering, gather
from stages.members import join
from stages.pose_labels import LabelledPeople, labelled_people
from stages.stage import StageResult, StageWork
from utils.coco_eval import evaluate
from utils.coco_files import load_ground_truth, read_json, read_skeleton
from utils.predictions import Predictions
from utils.skeleton import Skeleton

FOLDS = 5
FEWEST_PEOPLE = 20
"""Labelled people in ``calibrate``; with fewer, nothing can be chosen."""

Members = Mapping[str, Predictions]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Calibrate:
    """The pictures that everything is chosen with.

    Attributes:
        path: their annotations.
        labels: of the people.
        folds: picture ids of each fifth.
        skeleton: of all.
    """

    path: Path
    labels: LabelledPeople
    folds: tuple[Ids, ...]
    skeleton: Skeleton

    @classmethod
    def open(cls, path: Path, skeleton: Skeleton, seed: int) -> Calibrate:
        """Reads the labels, and deals the pictures into folds."""
        truth = load_ground_truth(path, skeleton)
        order = np.random.default_rng(seed).permutation(np.array(sorted(set(truth.images)), np.int64))
        return cls(path, labelled_people(truth), tuple(np.array_split(order, FOLDS)), skeleton)

    def precision(self, people: Predictions) -> float:
        """AP."""
        return max(0.0, evaluate(self.path, people.rows(), self.skeleton).AP)


def run(work: StageWork) -> StageResult:
    """Fuses the members of -MEMBERS and the views of -TTA with what came in, or declines.

    Raises:
        ConfigError: there is no model to start from, or -MEMBERS can't be used.
        WeightsError: a member's file is missing, broken, or doesn't fit.
        DataError: pictures or annotations can't be read.
    """
    skeleton = read_skeleton(read_json(work.parts["calibrate"], "annotation file"), str(work.parts["calibrate"]))
    calibrate = Calibrate.open(work.parts["calibrate"], skeleton, work.config.seed)
    gathered = gather(work, skeleton)
    if len(gathered.calibrate) < 2:
        return _declined(gathered, "there is one member only: give others with -MEMBERS, or views with -TTA", {})
    if len(calibrate.labels) < FEWEST_PEOPLE:
        reason = f"the calibrate part has {len(calibrate.labels)} labelled people, but {FEWEST_PEOPLE} are needed"
        return _declined(gathered, reason, {})
    choice = choose(gathered.calibrate, calibrate, work.say)
    figures = choice.figures()
    if choice.fused <= choice.alone[INPUT]:
        return _declined(gathered, "no fusion is better than its input on the calibrate part", figures)
    after = {"calibrate": choice.people, "test": fused_test(gathered, choice.members, calibrate)}
    paths = {part: work.folder / f"{part}.json" for part in after}
    for part, people in after.items():
        people.save(paths[part], load_ground_truth(work.parts[part], skeleton).category)
    return StageResult(paths, figures=figures)


@dataclass(frozen=True)
class Choice:
    """What was chosen on ``calibrate``.

    Attributes:
        members: who takes part; the input is the first.
        people: the cross-fitted fusion.
        fused: its AP.
        alone: AP of each member by itself.
        steps: AP with one member more, in the order in which they were tried.
    """

    members: tuple[str, ...]
    people: Predictions
    fused: float
    alone: Mapping[str, float]
    steps: Mapping[str, float]

    def figures(self) -> dict[str, Any]:
        """For the report."""
        return {
            "AP of each member": dict(self.alone),
            "AP with each member added": dict(self.steps),
            "members": list(self.members),
            "AP of the fusion": self.fused,
        }


def choose(members: Members, calibrate: Calibrate, say: Callable[[str], object]) -> Choice:
    """Adds members, the best first, as long as the cross-fitted AP rises.

    The input, the first of `members`, always takes part.
    """
    alone = {name: calibrate.precision(people) for name, people in members.items()}
    first, *others = members
    ranked = sorted(others, key=lambda name: -alone[name])
    calibrated = [_calibrated(members, calibrate, fold) for fold in range(FOLDS)]
    taken: tuple[str, ...] = (first,)
    best = cross_fitted(calibrated, taken, calibrate)
    score = calibrate.precision(best)
    steps = {first: score}
    for name in ranked:
        people = cross_fitted(calibrated, (*taken, name), calibrate)
        steps[name] = calibrate.precision(people)
        say(f"ensemble: {', '.join((*taken, name))}: {100 * steps[name]:.1f} AP on calibrate, cross-fitted")
        if steps[name] > score:
            taken, best, score = (*taken, name), people, steps[name]
    return Choice(taken, best, score, alone, steps)


def _calibrated(members: Members, calibrate: Calibrate, fold: int) -> dict[str, Predictions]:
    """All members in all pictures, their numbers calibrated without the pictures of the fold."""
    inside, labels = _without(calibrate, fold)
    calibrations = {
        name: Calibration.fit(_in(people, inside), labels, calibrate.skeleton) for name, people in members.items()
    }
    return {name: calibrations[name].apply(people, calibrate.skeleton) for name, people in members.items()}


def cross_fitted(
    calibrated: Sequence[Mapping[str, Predictions]], names: Sequence[str], calibrate: Calibrate
) -> Predictions:
    """The fusion of some members, each fold by what the others taught."""
    parts = []
    for fold, members in enumerate(calibrated):
        inside, labels = _without(calibrate, fold)
        blend = Blend.fit([_in(members[name], inside) for name in names], labels, calibrate.skeleton)
        outside = [_in(members[name], calibrate.folds[fold]) for name in names]
        parts.append(blend.apply(outside, calibrate.skeleton))
    people = join(parts)
    order = np.argsort(people.image_ids, kind="stable")
    return people.map(lambda rows: rows[order])


def fused_test(gathered: Gathering, names: Sequence[str], calibrate: Calibrate) -> Predictions:
    """The fusion of some members in ``test``, by what all of ``calibrate`` teaches."""
    skeleton, labels = calibrate.skeleton, calibrate.labels
    calibrations = [Calibration.fit(gathered.calibrate[name], labels, skeleton) for name in names]
    known, unknown = (
        [one.apply(part[name], skeleton) for one, name in zip(calibrations, names, strict=True)]
        for part in (gathered.calibrate, gathered.test)
    )
    return Blend.fit(known, labels, skeleton).apply(unknown, skeleton)


def _without(calibrate: Calibrate, fold: int) -> tuple[Ids, LabelledPeople]:
    inside = np.concatenate([ids for i, ids in enumerate(calibrate.folds) if i != fold])
    return inside, calibrate.labels.select(np.isin(calibrate.labels.image_ids, inside))


def _in(people: Predictions, image_ids: Ids) -> Predictions:
    chosen = np.isin(people.image_ids, image_ids)
    return people.map(lambda rows: rows[chosen])


def _declined(gathered: Gathering, reason: str, figures: Mapping[str, Any]) -> StageResult:
    return StageResult(gathered.before, declined=reason, figures=figures)
