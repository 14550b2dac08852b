"""Stage 4, the pose prior: makes poses plausible where that brings them nearer to the truth, and scores them anew.

Three parts, one after the other: left/right swaps (`stages.prior.swaps`), moved keypoints (`stages.prior.moves`) and
new scores (`stages.prior.recalibration`). Each is cross-fitted on the calibrate part and stays only if AP rises there.
Last come new confidences of the keypoints, which AP doesn't see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sia.evaluation.labels import LabelledPeople, Rows
from sia.evaluation.matches import find_matches
from sia.evaluation.predictions import Predictions
from sia.evaluation.significance import Proof, prove
from sia.io.checkpoint import read_state_dict, save_checkpoint
from sia.io.input_file import sha256_of
from sia.io.output_file import write_json
from sia.io.weights import load_weights
from sia.skeletons.skeleton import Skeleton
from stages.error_model.fitting import BatchShare, trained
from stages.error_model.folds import CalibrationSet
from stages.error_model.pose_errors import FEWEST_PEOPLE, errors_of_pairs
from stages.error_model.pose_input import ConfidenceScale, confidence_scale
from stages.error_model.statistics import LogisticRegression
from stages.evaluator import on_first_rank
from stages.prior.figures import Moved, draw_sheets
from stages.prior.kinematics import KinematicLimits, learn_anatomy
from stages.prior.moves import Moves, ShiftGate
from stages.prior.parts import MatchedLabels, Part, PriorContext, cross_fitted
from stages.prior.poses import training_poses
from stages.prior.recalibration import Confidences, Reliability, Rescoring, reliability
from stages.prior.swaps import SwapMargins, Swaps
from stages.prior.training import TrainedPrior, train_prior
from stages.prior.vae import PosePrior
from stages.stage import REMEDY, Images, Stage, StageFit, StageInput, Surroundings, load_fit, save_fit
from utils.config.train_config import TrainConfig

PARTS: tuple[type[Part], ...] = (Swaps, Moves, Rescoring)

LIKELY = 1.0
"""Standard errors by which a part has to raise AP on the calibrate part. The proof on the test part asks for two."""


@dataclass(frozen=True)
class Choices:
    """What each part does; None for a part that is left out."""

    swaps: SwapMargins | None = None
    moves: ShiftGate | None = None
    rescoring: LogisticRegression | None = None
    confidences: LogisticRegression | None = None

    def apply(self, scene: PriorContext) -> Predictions:
        """One part after the other."""
        parts: tuple[type[Part], ...] = (*PARTS, Confidences)
        for part in parts:
            chosen = getattr(self, part.name)
            if chosen is not None:
                scene = replace(scene, people=part(scene).apply(chosen))
        return scene.people


@dataclass(frozen=True)
class _Saved:
    """The schema of fit.json."""

    scales: tuple[ConfidenceScale, ...]
    kinematic_limits: KinematicLimits
    choices: Choices


@dataclass(frozen=True)
class FittedPrior:
    """Priors and what is done by their advice."""

    priors: Sequence[TrainedPrior]
    kinematic_limits: KinematicLimits
    choices: Choices
    skeleton: Skeleton

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """See `stages.stage.Fitted`; no image is looked at."""
        everybody = np.full(len(people), -1)
        return self.choices.apply(PriorContext(people, everybody, self.priors, self.kinematic_limits, self.skeleton))

    def save(self, folder: Path) -> None:
        """See `stages.stage.Fitted`."""
        save_fit(folder, _Saved(tuple(prior.scale for prior in self.priors), self.kinematic_limits, self.choices))
        for number, prior in enumerate(self.priors):
            save_checkpoint(folder / f"prior-{number}.pt", prior.network.state_dict())


def load(folder: Path, around: Surroundings) -> FittedPrior:
    """A fitted prior out of its folder.

    Raises:
        DataError: a file is missing or broken.
        WeightsError: so is one of weights.
    """
    saved, priors = load_fit(folder, _Saved), []
    for number, scale in enumerate(saved.scales):
        path, network = folder / f"prior-{number}.pt", PosePrior(around.skeleton.num_keypoints)
        load_weights(network, read_state_dict(path), path, REMEDY)
        priors.append(TrainedPrior(network.eval(), scale, around.skeleton))
    return FittedPrior(priors, saved.kinematic_limits, saved.choices, around.skeleton)


@dataclass(frozen=True)
class CalibrationData:
    """The calibrate part, on which everything is chosen.

    Attributes:
        calibrate: its labels.
        truth: labels of the predictions.
        folds: (N,) of each prediction; even ones ask the prior of the odd ones, and the other way round.
    """

    calibrate: CalibrationSet
    truth: MatchedLabels
    folds: Rows

    @classmethod
    def of(cls, people: Predictions, calibrate: CalibrationSet) -> CalibrationData:
        """Finds the labels."""
        truth = MatchedLabels.of(people, calibrate.labels, calibrate.skeleton)
        return cls(calibrate, truth, calibrate.folds_of(people))


@dataclass(frozen=True)
class Trial:
    """One part, tried.

    Attributes:
        name: of the part.
        worth: AP on the calibrate part before and after, cross-fitted; of confidences, how well they tell errors.
        kept: whether the gain is sure enough.
        chosen: what the part chose on the whole calibrate part, as plain types.
    """

    name: str
    worth: Proof | Reliability
    kept: bool
    chosen: Mapping[str, Any]

    def line(self) -> str:
        """Such as ``swaps: AP on calibrate +0.3 [0.1, 0.5], kept``."""
        told = self.worth
        if isinstance(told, Reliability):
            figures = told.words()
        else:
            figures = f"AP on calibrate {told.difference.percent(sign=True)}"
        return f"{self.name}: {figures}, {'kept' if self.kept else 'left out'}"


@dataclass(frozen=True)
class Outcome:
    """What was chosen.

    Attributes:
        people: of the calibrate part, cross-fitted.
        choices: of the parts that are applied.
        trials: of all parts.
    """

    people: Predictions
    choices: Choices
    trials: tuple[Trial, ...]

    @property
    def raises_ap(self) -> bool:
        """Whether a part that can change AP was kept."""
        return any(trial.kept for trial in self.trials if isinstance(trial.worth, Proof))


def fit(work: StageInput) -> StageFit:
    """Fits on ``fit``, chooses on ``calibrate``.

    Where nothing gains, it is fitted with all parts all the same, for a user who insists.

    Raises:
        DataError: files that can't be read or don't fit together.
        OutputError: a file can't be written.
    """
    assert work.results is not None
    with work.ranks.shared_errors():
        calibrate = CalibrationSet.open(work)
        people = calibrate.read(work.results)
        bench = CalibrationData.of(people, calibrate)
        poses = training_poses(work.splits["fit"], work.config.prior_poses, calibrate.skeleton)
    lacking = _lacking(bench, poses)
    if lacking:
        return StageFit(declined=lacking)
    priors = [_train(work, people, bench, poses, half) for half in (0, 1)]
    return on_first_rank(lambda: _choose(work, people, bench, poses, priors))


def _lacking(bench: CalibrationData, poses: LabelledPeople) -> str:
    """What there is too little of, if anything."""
    fewest = min(int((bench.truth.matched & (bench.folds % 2 == half)).sum()) for half in (0, 1))
    if fewest < FEWEST_PEOPLE:
        return f"only {fewest} labelled people are found in a half of calibrate: too few to measure errors on"
    if len(poses) < FEWEST_PEOPLE:
        return f"only {len(poses)} poses have keypoints enough to learn from"
    return ""


def _train(
    work: StageInput, people: Predictions, bench: CalibrationData, poses: LabelledPeople, half: int
) -> TrainedPrior:
    """A prior with the errors of one half of the calibrate part; the stage's folder keeps it."""
    skeleton, truth, mine = bench.calibrate.skeleton, bench.truth, bench.folds % 2 == half
    found = np.flatnonzero(mine & truth.matched)
    labels = truth.labels.select(truth.found[found])
    errors = on_first_rank(lambda: errors_of_pairs(people.select(found), labels, skeleton))
    scale = confidence_scale(people.select(mine))
    seed, steps, extra = work.config.seed + half, work.config.prior_steps, work.config.prior_poses
    learned_from = (work.splits["fit"], work.splits["calibrate"], work.results, extra)
    files = [sha256_of(path) for path in learned_from if path is not None]
    with work.ranks.shared_errors():
        if work.ranks.is_main:
            write_json(work.folder / f"errors_{half}.json", errors.to_dict())

    def train() -> PosePrior:
        with BatchShare(work.ranks) as share:
            return train_prior(poses, errors, scale, skeleton, seed, steps, work.say, share).network

    network = trained(work, f"prior-{half}", [*files, seed, steps], PosePrior(skeleton.num_keypoints), train)
    return TrainedPrior(network, scale, skeleton)


def _choose(
    work: StageInput, people: Predictions, bench: CalibrationData, poses: LabelledPeople, priors: Sequence[TrainedPrior]
) -> StageFit:
    skeleton = bench.calibrate.skeleton
    scene = PriorContext(people, bench.folds % 2, priors, learn_anatomy(poses, skeleton), skeleton)
    outcome, moves = try_all(scene, bench, work.say), Moves(scene)
    declined = ""
    if not outcome.raises_ap:
        lines = "; ".join(trial.line() for trial in outcome.trials)
        declined = f"no part raises AP on calibrate surely enough; {lines}"
    figures = {
        "training poses": len(poses),
        "people found in calibrate": int(bench.truth.matched.sum()),
        "parts": [trial.line() for trial in outcome.trials],
        "chosen": {trial.name: trial.chosen for trial in outcome.trials},
        "mean OKS term by fraction of the advised move": moves.worth(bench.truth),
    }
    fitted = FittedPrior(priors, scene.kinematic_limits, outcome.choices, skeleton)
    return StageFit(fitted, outcome.people, declined, figures, _draw(work, moves, outcome, bench.truth))


def try_all(scene: PriorContext, bench: CalibrationData, say: Callable[[str], None]) -> Outcome:
    """Swaps, moves and new scores by AP, each on what the parts kept before it left; then confidences by themselves.

    Where no part raises AP, all three are chosen all the same.
    """
    calibrate, trials, chosen, now = bench.calibrate, list[Trial](), dict[str, Any](), scene
    category, skeleton = calibrate.truth.category, calibrate.skeleton
    before = find_matches(calibrate.path, now.people.rows(category), skeleton)
    for part in PARTS:
        changed, fitted, told = change(part, now, bench)
        after = find_matches(calibrate.path, changed.people.rows(category), skeleton)
        proof = prove(before, after, calibrate.seed, calibrate.groups)
        trials.append(Trial(part.name, proof, gains(proof), told))
        say(f"prior, {trials[-1].line()}")
        if trials[-1].kept:
            now, before, chosen[part.name] = changed, after, fitted
    for part in PARTS if not chosen else ():
        now, chosen[part.name], _ = change(part, now, bench)
    changed, fitted, told = change(Confidences, now, bench)
    worth = reliability(now.people, changed.people, bench.truth)
    trials.append(Trial(Confidences.name, worth, worth.is_gain, told))
    say(f"prior, {trials[-1].line()}")
    if worth.is_gain:
        now, chosen[Confidences.name] = changed, fitted
    return Outcome(now.people, Choices(**chosen), tuple(trials))


def change(part: type[Part], scene: PriorContext, bench: CalibrationData) -> tuple[PriorContext, Any, dict[str, Any]]:
    """The scene with the part applied, cross-fitted; and what it chose on the whole of it, also as plain types."""
    made = part(scene)
    chosen = made.fit(bench.truth, np.ones(len(bench.folds), dtype=bool))
    return replace(scene, people=cross_fitted(made, bench.truth, bench.folds)), chosen, made.describe(chosen)


def gains(proof: Proof) -> bool:
    """Whether AP rose by more than `LIKELY` standard errors."""
    interval = proof.difference
    return proof.changed and interval.value > max(LIKELY * (interval.high - interval.low) / 3.92, 1e-6)


def _draw(work: StageInput, moves: Moves, outcome: Outcome, truth: MatchedLabels) -> list[Path]:
    """Sheets of what was moved; of what the prior advises, where too little was to be seen."""
    before, data = moves.scene.people, work.data("calibrate")
    title = f"People of calibrate whom the stage {'changed' if outcome.raises_ap else 'would change'}"
    moved = Moved("moved", title, before, outcome.people, truth)
    title = "People of calibrate as the prior advises in full, which the stage did not do"
    advice = Moved("advice", title, before, moves.advised(), truth)
    return draw_sheets(data, moved, work.folder) or draw_sheets(data, advice, work.folder)


def _files(config: TrainConfig) -> list[Path]:
    return [config.prior_poses] if config.prior_poses is not None else []


STAGE = Stage(fit, load, fields=("prior_poses", "prior_steps", "seed"), files=_files)
