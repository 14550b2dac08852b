"""Stage 3: several models, and several views of one, are worth more together; how much each is worth is measured.

They are fused, and then a small network that looks at the image once more corrects the poses. Everything is chosen on
``calibrate``, cross-fitted: each fifth of its images is fused with what the other four taught. Its results there are
therefore as honest as those on ``test``, and later stages can learn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sia.coco.coco_files import load_skeleton
from stages.ensemble.fusion_model import FusionModel
from stages.ensemble.member_predictions import INPUT, MemberPredictions, gather
from stages.ensemble.members import join
from stages.ensemble.refinement import correct
from stages.error_model.calibration import Calibration
from stages.error_model.folds import FOLDS, CalibrationSet, Candidate, in_images
from stages.error_model.labels import LabelledPeople, Rows
from stages.stage import StageResult, StageWork
from utils.metrics.predictions import Predictions

FEWEST_PEOPLE = 20
"""Labelled people in ``calibrate``; with fewer, nothing can be chosen."""

Members = Mapping[str, Predictions]


def run(work: StageWork) -> StageResult:
    """Fuses the members of -MEMBERS and the views of -TTA with what came in, corrects the poses, or declines.

    Raises:
        ConfigError: there is no model to start from, or -MEMBERS can't be used.
        WeightsError: a member's file is missing, broken, or doesn't fit.
        DataError: images or annotations can't be read.
    """
    skeleton = load_skeleton(work.parts["calibrate"])
    calibrate = CalibrationSet.open(work.parts["calibrate"], skeleton, work.config.seed)
    gathered = gather(work, skeleton)
    if len(calibrate.labels) < FEWEST_PEOPLE:
        reason = f"the calibrate part has {len(calibrate.labels)} labelled people, but {FEWEST_PEOPLE} are needed"
        return StageResult(gathered.before, declined=reason)
    fusion = fuse(gathered, calibrate, work.say)
    correction = correct(work, fusion.people, calibrate, gathered.source)
    figures = {**fusion.figures, "refinement network": dict(correction.figures)}
    if fusion.refused and correction.refused:
        reason = f"{fusion.refused}; {correction.refused}"
        return StageResult(gathered.before, declined=reason, figures=figures)
    paths = {part: work.folder / f"{part}.json" for part in correction.people}
    for part, people in correction.people.items():
        people.save(paths[part], work.truth(part, skeleton).category)
    return StageResult(paths, figures=figures)


def fuse(gathered: MemberPredictions, calibrate: CalibrationSet, say: Callable[[str], object]) -> Candidate:
    """Fuses the members that raise AP with the input, or refuses."""
    before = {"calibrate": gathered.calibrate[INPUT], "test": gathered.test[INPUT]}
    if len(gathered.calibrate) < 2:
        return Candidate(before, "there is one member only: give others with -MEMBERS, or views with -TTA", {})
    choice = choose(gathered.calibrate, calibrate, say)
    if choice.fused <= choice.alone[INPUT]:
        return Candidate(before, "no fusion is better than its input on the calibrate part", choice.figures())
    people = {"calibrate": choice.people, "test": fused_test(gathered, choice.members, calibrate)}
    return Candidate(people, "", choice.figures())


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


def choose(members: Members, calibrate: CalibrationSet, say: Callable[[str], object]) -> Choice:
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


def _calibrated(members: Members, calibrate: CalibrationSet, fold: int) -> dict[str, Predictions]:
    """All members in all images, their numbers calibrated without the images of the fold."""
    inside, labels = _without(calibrate, fold)
    calibrations = {
        name: Calibration.fit(in_images(people, inside), labels, calibrate.skeleton) for name, people in members.items()
    }
    return {name: calibrations[name].apply(people, calibrate.skeleton) for name, people in members.items()}


def cross_fitted(
    calibrated: Sequence[Mapping[str, Predictions]], names: Sequence[str], calibrate: CalibrationSet
) -> Predictions:
    """The fusion of some members, each fold by what the others taught."""
    parts = []
    for fold, members in enumerate(calibrated):
        inside, labels = _without(calibrate, fold)
        blend = FusionModel.fit([in_images(members[name], inside) for name in names], labels, calibrate.skeleton)
        outside = [in_images(members[name], calibrate.folds[fold]) for name in names]
        parts.append(blend.apply(outside, calibrate.skeleton))
    people = join(parts)
    order = np.argsort(people.image_ids, kind="stable")
    return people.select(order)


def fused_test(gathered: MemberPredictions, names: Sequence[str], calibrate: CalibrationSet) -> Predictions:
    """The fusion of some members in ``test``, by what all of ``calibrate`` teaches."""
    skeleton, labels = calibrate.skeleton, calibrate.labels
    calibrations = [Calibration.fit(gathered.calibrate[name], labels, skeleton) for name in names]
    known, unknown = (
        [one.apply(part[name], skeleton) for one, name in zip(calibrations, names, strict=True)]
        for part in (gathered.calibrate, gathered.test)
    )
    return FusionModel.fit(known, labels, skeleton).apply(unknown, skeleton)


def _without(calibrate: CalibrationSet, fold: int) -> tuple[Rows, LabelledPeople]:
    inside = np.concatenate([ids for i, ids in enumerate(calibrate.folds) if i != fold])
    return inside, calibrate.labels.select(np.isin(calibrate.labels.image_ids, inside))
