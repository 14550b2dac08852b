"""Stage 3: several models, and several views of one, are worth more together; how much each is worth is measured.

They are fused, and then a small network that looks at the image once more corrects the poses. Everything is chosen on
``calibrate``, cross-fitted: each fifth of its images is fused with what the other four taught. Its results there are
therefore as honest as those on ``test``, and later stages can learn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sia.evaluation.labels import LabelledPeople
from sia.evaluation.predictions import Predictions, digest_of
from sia.io.checkpoint import read_state_dict, save_checkpoint
from sia.io.weights import load_weights
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.experts.loading import parse_members
from stages.ensemble.fusion import FusionModel
from stages.ensemble.members import INPUT, Member, OpenMembers, list_members, member_files, predict_members
from stages.ensemble.refinement import Candidate, Refinement, TrainedRefinementNetwork, refine
from stages.ensemble.refinement_network import PoseRefinementNetwork
from stages.error_model.calibration import Calibration
from stages.error_model.folds import FOLDS, CalibrationSet
from stages.error_model.pose_input import ConfidenceScale
from stages.evaluator import on_first_rank
from stages.stage import REMEDY, Images, Stage, StageFit, StageInput, Surroundings, load_fit, save_fit
from utils.config.train_config import TrainConfig

FEWEST_PEOPLE = 20
"""Labelled people in ``calibrate``; with fewer, nothing can be chosen."""


Members = Mapping[str, Predictions]


@dataclass(frozen=True)
class Fusion:
    """Members, what the numbers of each are worth, and how they are fused.

    Attributes:
        taken: names of those who take part; the input is the first.
        calibrations: of each of them.
        blend: of them all.
    """

    taken: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    blend: FusionModel

    @classmethod
    def fit(cls, taken: tuple[str, ...], found: Members, labels: LabelledPeople, skeleton: Skeleton) -> Fusion:
        """By what they find in labelled images."""
        calibrations = tuple(Calibration.fit(found[name], labels, skeleton) for name in taken)
        known = [one.apply(found[name], skeleton) for one, name in zip(calibrations, taken, strict=True)]
        return cls(taken, calibrations, FusionModel.fit(known, labels, skeleton))

    def apply(self, found: Members, skeleton: Skeleton) -> Predictions:
        """The fusion of what they find in other images."""
        known = [one.apply(found[name], skeleton) for one, name in zip(self.calibrations, self.taken, strict=True)]
        return self.blend.apply(known, skeleton)


@dataclass(frozen=True)
class _Saved:
    """The schema of fit.json."""

    members: tuple[Member, ...]
    fusion: Fusion | None
    scales: tuple[ConfidenceScale, ...]
    fraction: float


@dataclass(frozen=True)
class FittedEnsemble:
    """A fusion, a refinement, or both.

    Attributes:
        members: to be asked, models of whole images first.
        fusion: of them and of what comes in.
        refinement: of what comes out of it.
        skeleton: of the people.
        opened: the members' models.
    """

    members: Sequence[Member]
    fusion: Fusion | None
    refinement: Refinement | None
    skeleton: Skeleton
    opened: OpenMembers

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """See `stages.stage.Fitted`."""
        if self.fusion is not None:
            found = self.opened.ask_all(self.members, people, images, lambda member, _, ask: ask(images).as_read())
            people = self.fusion.apply(found, self.skeleton)
        return people if self.refinement is None else self.refinement.apply(people, images)

    def save(self, folder: Path) -> None:
        """See `stages.stage.Fitted`."""
        refinement_networks, fraction = (
            (self.refinement.refinement_networks, self.refinement.fraction) if self.refinement else ((), 0.0)
        )
        members = tuple(member.save(folder) for member in self.members)
        save_fit(folder, _Saved(members, self.fusion, tuple(one.scale for one in refinement_networks), fraction))
        for number, refinement_network in enumerate(refinement_networks):
            save_checkpoint(folder / f"refinement-{number}.pt", refinement_network.network.state_dict())


def load(folder: Path, around: Surroundings) -> FittedEnsemble:
    """A fitted ensemble out of its folder.

    Raises:
        DataError: a file is missing or broken.
        WeightsError: so is one of weights, or of a member.
    """
    saved, refinement_networks = load_fit(folder, _Saved), []
    members = [member.located((folder, around.folder)) for member in saved.members]
    for number, scale in enumerate(saved.scales):
        path, network = folder / f"refinement-{number}.pt", PoseRefinementNetwork(around.skeleton.num_keypoints)
        load_weights(network, read_state_dict(path), path, REMEDY)
        refinement_networks.append(TrainedRefinementNetwork(network.eval(), scale, around.skeleton))
    refinement = Refinement(refinement_networks, saved.fraction) if refinement_networks else None
    opened = OpenMembers(around.device, around.skeleton, around.model)
    return FittedEnsemble(members, saved.fusion, refinement, around.skeleton, opened)


def fit(work: StageInput) -> StageFit:
    """Fuses the members of -MEMBERS and the views of -TTA with what came in, corrects the poses, or declines.

    Raises:
        ConfigError: -MEMBERS can't be used.
        WeightsError: a member's file is missing, broken, or doesn't fit.
        DataError: images or annotations can't be read.
    """
    assert work.results is not None
    with work.ranks.shared_errors():
        calibrate = CalibrationSet.open(work)
        people = calibrate.read(work.results)
        members = list_members(work, calibrate.skeleton)
    found = predict_members(members, work, calibrate, people)
    if len(calibrate.labels) < FEWEST_PEOPLE:
        reason = f"the calibrate part has {len(calibrate.labels)} labelled people, but {FEWEST_PEOPLE} are needed"
        return StageFit(declined=reason)
    fusion = on_first_rank(lambda: fuse(found, calibrate, work.say))
    source = digest_of(array for one in found.values() for array in vars(one).values())
    refinement = refine(work, fusion.people, calibrate, source)
    figures = {**fusion.figures, "refinement network": dict(refinement.figures)}
    if fusion.fitted is None and refinement.fitted is None:
        return StageFit(declined=f"{fusion.refused}; {refinement.refused}", figures=figures)
    opened = OpenMembers(work.config.device, calibrate.skeleton, work.weights)
    asked = needed(members, fusion.fitted)
    fitted = FittedEnsemble(asked, fusion.fitted, refinement.fitted, calibrate.skeleton, opened)
    return StageFit(fitted, refinement.people, figures=figures)


def needed(members: Sequence[Member], fusion: Fusion | None) -> list[Member]:
    """Those who take part; with an expert all models of whole images too, as they tell it where people are."""
    taken = fusion.taken if fusion is not None else ()
    expert = any(member.name in taken and not member.finds for member in members)
    return [member for member in members if member.name in taken or (expert and member.finds)]


def fuse(found: Members, calibrate: CalibrationSet, say: Callable[[str], object]) -> Candidate[Fusion]:
    """Fuses the members that raise AP with the input, or refuses."""
    before = found[INPUT]
    if len(found) < 2:
        return Candidate(None, before, "there is one member only: give others with -MEMBERS, or views with -TTA", {})
    choice = choose(found, calibrate, say)
    if choice.fused <= choice.alone[INPUT]:
        return Candidate(None, before, "no fusion is better than its input on the calibrate part", choice.figures())
    fitted = Fusion.fit(choice.members, found, calibrate.labels, calibrate.skeleton)
    return Candidate(fitted, choice.people, "", choice.figures())


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
    folds = [_Fold.of(calibrate, number, members) for number in range(FOLDS)]
    taken: tuple[str, ...] = (first,)
    best = cross_fitted(folds, taken, calibrate.skeleton)
    score = calibrate.precision(best)
    steps = {first: score}
    for name in sorted(others, key=lambda name: -alone[name]):
        people = cross_fitted(folds, (*taken, name), calibrate.skeleton)
        steps[name] = calibrate.precision(people)
        say(f"ensemble: {', '.join((*taken, name))}: {100 * steps[name]:.1f} AP on calibrate, cross-fitted")
        if steps[name] > score:
            taken, best, score = (*taken, name), people, steps[name]
    return Choice(taken, best, score, alone, steps)


@dataclass(frozen=True)
class _Fold:
    """Members in the other folds, with their labels, and in this one; calibrated by the others."""

    labels: LabelledPeople
    inside: Members
    outside: Members

    @classmethod
    def of(cls, calibrate: CalibrationSet, fold: int, members: Members) -> _Fold:
        ids = np.concatenate([ids for number, ids in enumerate(calibrate.folds) if number != fold])
        labels = calibrate.labels.select(np.isin(calibrate.labels.image_ids, ids))
        fits = {name: Calibration.fit(one.of_images(ids), labels, calibrate.skeleton) for name, one in members.items()}
        known = {name: fits[name].apply(people, calibrate.skeleton) for name, people in members.items()}
        inside = {name: people.of_images(ids) for name, people in known.items()}
        outside = {name: people.of_images(calibrate.folds[fold]) for name, people in known.items()}
        return cls(labels, inside, outside)


def cross_fitted(folds: Sequence[_Fold], names: Sequence[str], skeleton: Skeleton) -> Predictions:
    """The fusion of some members, each fold by what the others taught."""
    parts = [
        FusionModel.fit([fold.inside[name] for name in names], fold.labels, skeleton).apply(
            [fold.outside[name] for name in names], skeleton
        )
        for fold in folds
    ]
    people = Predictions.join(parts)
    return people.select(np.argsort(people.image_ids, kind="stable"))


def _files(config: TrainConfig) -> list[Path]:
    return [file for member in parse_members(config.members) for file in member_files(member.path)]


STAGE = Stage(fit, load, fields=("members", "tta", "refinement_steps", "seed"), files=_files)
