"""Stage 4, the pose prior: makes poses plausible where that brings them nearer to the truth, and scores them anew.

Three parts, one after the other: left/right swaps (`stages.prior_swaps`), moved keypoints (`stages.prior_moves`) and
new scores (`stages.prior_rescoring`). Each is cross-fitted on the calibrate part and stays only if AP rises there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.anatomy import learn_anatomy
from stages.matches import find_matches
from stages.pose_errors import FEWEST_PEOPLE, PoseErrors, errors_of_pairs
from stages.pose_labels import LabelledPeople, Rows, labelled_people
from stages.prior_moves import Moves
from stages.prior_parts import Part, Scene, Truth, cross_fitted
from stages.prior_poses import training_poses
from stages.prior_rescoring import Rescoring
from stages.prior_swaps import Swaps
from stages.prior_training import TrainedPrior, confidence_scale, train_prior
from stages.proof import Proof, prove
from stages.stage import StageResult, StageWork
from utils.coco_files import load_ground_truth, read_json, read_skeleton
from utils.output import write_json
from utils.predictions import Predictions, read_predictions
from utils.skeleton import Skeleton

PARTS: tuple[type[Part], ...] = (Swaps, Moves, Rescoring)

FOLDS = 6
"""Of the calibrate part's pictures: even ones ask the prior of the odd ones, and the other way round."""

SURE = 1.0
"""Standard errors by which a part has to raise AP on the calibrate part. The proof on the test part asks for two."""


@dataclass(frozen=True)
class Bench:
    """The calibrate part, on which everything is chosen.

    Attributes:
        annotations: its file.
        truth: labels of the predictions.
        folds: (N,) of each prediction.
        seed: of the resamples.
    """

    annotations: Path
    truth: Truth
    folds: Rows
    seed: int


@dataclass(frozen=True)
class Trial:
    """One part, tried.

    Attributes:
        name: of the part.
        proof: AP on the calibrate part before and after, cross-fitted.
        kept: whether the gain is sure enough.
        chosen: what the part chose on the whole calibrate part, as plain types.
    """

    name: str
    proof: Proof
    kept: bool
    chosen: Mapping[str, Any]

    def line(self) -> str:
        """Such as ``swaps: AP on calibrate +0.3 [0.1, 0.5], kept``."""
        verdict = "kept" if self.kept else "left out"
        return f"{self.name}: AP on calibrate {self.proof.difference.percent(sign=True)}, {verdict}"


def run(work: StageWork) -> StageResult:
    """Fits on ``fit``, chooses on ``calibrate``, changes ``calibrate`` and ``test``.

    Where nothing gains, the results hold all parts all the same, for a user who insists.

    Raises:
        DataError: files that can't be read or don't fit together.
    """
    skeleton = _skeleton_of(work.parts["calibrate"])
    people = {part: _read(work, part, skeleton) for part in ("calibrate", "test")}
    labels = labelled_people(load_ground_truth(work.parts["calibrate"], skeleton))
    bench = _bench(work, people["calibrate"], labels, skeleton)
    poses = training_poses(work.parts["fit"], work.config.prior_poses, skeleton)
    lacking = _lacking(bench, poses)
    if lacking:
        return StageResult({}, declined=lacking)
    priors = _train(work, people["calibrate"], bench, poses, skeleton)
    first = Scene(people["calibrate"], bench.folds % 2, priors, learn_anatomy(poses, skeleton), skeleton)
    second = replace(first, people=people["test"], excluded=np.full(len(people["test"]), -1))
    changed, trials = apply_parts(first, second, bench, work)
    after = _write(work.folder, changed)
    return StageResult(after, declined=_declined(trials), figures=_figures(trials, poses, bench))


def _skeleton_of(annotations: Path) -> Skeleton:
    return read_skeleton(read_json(annotations, "annotation file"), f"The annotation file {annotations}")


def _read(work: StageWork, part: str, skeleton: Skeleton) -> Predictions:
    return read_predictions(work.before[part], load_ground_truth(work.parts[part], skeleton), skeleton)


def _bench(work: StageWork, people: Predictions, labels: LabelledPeople, skeleton: Skeleton) -> Bench:
    """Folds by picture, in an order of the seed's."""
    images = np.unique(people.image_ids)
    order = np.random.default_rng(work.config.seed).permutation(len(images))
    folds = order[np.searchsorted(images, people.image_ids)] % FOLDS
    truth = Truth.of(people, labels, skeleton)
    return Bench(work.parts["calibrate"], truth, folds, work.config.seed)


def _lacking(bench: Bench, poses: LabelledPeople) -> str:
    """What there is too little of, if anything."""
    fewest = min(int((bench.truth.matched & (bench.folds % 2 == half)).sum()) for half in (0, 1))
    if fewest < FEWEST_PEOPLE:
        return f"only {fewest} labelled people are found in a half of calibrate: too few to measure errors on"
    if len(poses) < FEWEST_PEOPLE:
        return f"only {len(poses)} poses have keypoints enough to learn from"
    return ""


def _train(
    work: StageWork, people: Predictions, bench: Bench, poses: LabelledPeople, skeleton: Skeleton
) -> list[TrainedPrior]:
    """Two priors: each with the errors of one half of the calibrate part."""
    priors = []
    for half in (0, 1):
        mine = bench.folds % 2 == half
        errors = measure_half(people, bench.truth, mine, skeleton)
        write_json(work.folder / f"errors_{half}.json", errors.to_dict())
        scale = confidence_scale(people.map(lambda rows, mine=mine: rows[mine]))  # type: ignore[misc]
        priors.append(
            train_prior(poses, errors, scale, skeleton, work.config.seed + half, work.config.prior_steps, work.say)
        )
    return priors


def measure_half(people: Predictions, truth: Truth, rows: Rows, skeleton: Skeleton) -> PoseErrors:
    """The errors of the people found among some rows."""
    chosen = np.flatnonzero(rows & truth.matched)
    return errors_of_pairs(people.map(lambda a: a[chosen]), truth.labels.select(truth.found[chosen]), skeleton)


def apply_parts(
    calibrate: Scene, test: Scene, bench: Bench, work: StageWork
) -> tuple[dict[str, Predictions], list[Trial]]:
    """Tries each part on what the parts kept before it left; if none is kept, the people returned have all of them."""
    here, there, trials = calibrate, test, []
    before = find_matches(bench.annotations, calibrate.people.rows(), calibrate.skeleton)
    for part in PARTS:
        new_here, new_there, chosen = change(part, here, there, bench)
        after = find_matches(bench.annotations, new_here.people.rows(), calibrate.skeleton)
        proof = prove(before, after, bench.seed)
        trials.append(Trial(part.name, proof, gains(proof), chosen))
        work.say(f"prior, {trials[-1].line()}")
        if trials[-1].kept:
            here, there, before = new_here, new_there, after
    if not any(trial.kept for trial in trials):
        for part in PARTS:
            here, there, _ = change(part, here, there, bench)
    return {"calibrate": here.people, "test": there.people}, trials


def change(part: type[Part], calibrate: Scene, test: Scene, bench: Bench) -> tuple[Scene, Scene, dict[str, Any]]:
    """Both scenes with the part applied, cross-fitted on the first; and what it chose on the whole of the first."""
    fitted = part(calibrate)
    chosen = fitted.fit(bench.truth, np.ones(len(bench.folds), dtype=bool))
    changed = cross_fitted(fitted, bench.truth, bench.folds)
    new_test = replace(test, people=part(test).apply(chosen))
    return replace(calibrate, people=changed), new_test, fitted.describe(chosen)


def gains(proof: Proof) -> bool:
    """Whether AP rose by more than `SURE` standard errors."""
    interval = proof.difference
    return proof.changed and interval.value > max(SURE * (interval.high - interval.low) / 3.92, 1e-6)


def _write(folder: Path, changed: Mapping[str, Predictions]) -> dict[str, Path]:
    after = {part: folder / f"{part}.json" for part in changed}
    for part, people in changed.items():
        people.save(after[part])
    return after


def _declined(trials: list[Trial]) -> str:
    if any(trial.kept for trial in trials):
        return ""
    return "no part raises AP on calibrate surely enough; " + "; ".join(trial.line() for trial in trials)


def _figures(trials: list[Trial], poses: LabelledPeople, bench: Bench) -> dict[str, Any]:
    return {
        "training poses": len(poses),
        "people found in calibrate": int(bench.truth.matched.sum()),
        "parts": [trial.line() for trial in trials],
        "chosen": {trial.name: trial.chosen for trial in trials},
    }
