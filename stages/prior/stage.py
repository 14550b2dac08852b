"""Stage 4, the pose prior: makes poses plausible where that brings them nearer to the truth, and scores them anew.

Three parts, one after the other: left/right swaps (`stages.prior.swaps`), moved keypoints (`stages.prior.moves`) and
new scores (`stages.prior.rescoring`). Each is cross-fitted on the calibrate part and stays only if AP rises there. Last
come new confidences of the keypoints (`stages.prior.recalibration`), which AP doesn't see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sia.coco.coco_files import load_skeleton
from sia.io.output_file import write_json
from sia.skeletons.skeleton import Skeleton
from stages.error_model.fitting import kept
from stages.error_model.labels import LabelledPeople, Rows, labelled_people
from stages.error_model.pose_errors import FEWEST_PEOPLE, PoseErrors, errors_of_pairs
from stages.error_model.pose_input import confidence_scale
from stages.prior.figures import Moved, draw_sheets
from stages.prior.kinematics import learn_anatomy
from stages.prior.moves import Moves
from stages.prior.parts import MatchedLabels, PriorContext
from stages.prior.poses import training_poses
from stages.prior.training import TrainedPrior, train_prior
from stages.prior.trials import CalibrationData, Outcome, Trial, try_all
from stages.prior.vae import PosePrior
from stages.stage import StageResult, StageWork
from utils.hub.model_store import sha256_of
from utils.metrics.predictions import Predictions, read_predictions

FOLDS = 6
"""Of the calibrate part's images: even ones ask the prior of the odd ones, and the other way round."""


def run(work: StageWork) -> StageResult:
    """Fits on ``fit``, chooses on ``calibrate``, changes ``calibrate`` and ``test``.

    Where nothing gains, the results hold all parts all the same, for a user who insists.

    Raises:
        DataError: files that can't be read or don't fit together.
        OutputError: a file can't be written.
    """
    skeleton = load_skeleton(work.parts["calibrate"])
    people = {part: _read(work, part, skeleton) for part in ("calibrate", "test")}
    bench = _bench(work, people["calibrate"], skeleton)
    poses = training_poses(work.parts["fit"], work.config.prior_poses, skeleton)
    lacking = _lacking(bench, poses)
    if lacking:
        return StageResult({}, declined=lacking)
    priors = _train(work, people["calibrate"], bench, poses, skeleton)
    first = PriorContext(people["calibrate"], bench.folds % 2, priors, learn_anatomy(poses, skeleton), skeleton)
    second = replace(first, people=people["test"], excluded=np.full(len(people["test"]), -1))
    outcome = try_all(first, second, bench, work.say)
    after = _write(work.folder, {"calibrate": outcome.calibrate.people, "test": outcome.test.people}, bench.category)
    moves = Moves(first)
    worth = {"mean OKS term by fraction of the advised move": moves.worth(bench.truth)}
    figures = _figures(outcome.trials, poses, bench) | worth
    images = _draw(work, moves, outcome, bench.truth)
    return StageResult(after, declined=_declined(outcome), figures=figures, images=images)


def _read(work: StageWork, part: str, skeleton: Skeleton) -> Predictions:
    return read_predictions(work.before[part], work.truth(part, skeleton), skeleton)


def _bench(work: StageWork, people: Predictions, skeleton: Skeleton) -> CalibrationData:
    """Folds by image, in an order of the seed's."""
    labels = work.truth("calibrate", skeleton)
    images = np.unique(people.image_ids)
    order = np.random.default_rng(work.config.seed).permutation(len(images))
    folds = order[np.searchsorted(images, people.image_ids)] % FOLDS
    truth = MatchedLabels.of(people, labelled_people(labels), skeleton)
    return CalibrationData(work.parts["calibrate"], labels.category, truth, folds, work.config.seed)


def _lacking(bench: CalibrationData, poses: LabelledPeople) -> str:
    """What there is too little of, if anything."""
    fewest = min(int((bench.truth.matched & (bench.folds % 2 == half)).sum()) for half in (0, 1))
    if fewest < FEWEST_PEOPLE:
        return f"only {fewest} labelled people are found in a half of calibrate: too few to measure errors on"
    if len(poses) < FEWEST_PEOPLE:
        return f"only {len(poses)} poses have keypoints enough to learn from"
    return ""


def _train(
    work: StageWork, people: Predictions, bench: CalibrationData, poses: LabelledPeople, skeleton: Skeleton
) -> list[TrainedPrior]:
    """Two priors: each with the errors of one half of the calibrate part; the stage's folder keeps them."""
    return [_train_half(work, people, bench, poses, half, skeleton) for half in (0, 1)]


def _train_half(
    work: StageWork, people: Predictions, bench: CalibrationData, poses: LabelledPeople, half: int, skeleton: Skeleton
) -> TrainedPrior:
    mine = bench.folds % 2 == half
    errors = measure_half(people, bench.truth, mine, skeleton)
    write_json(work.folder / f"errors_{half}.json", errors.to_dict())
    scale = confidence_scale(people.select(mine))
    seed, steps, extra = work.config.seed + half, work.config.prior_steps, work.config.prior_poses
    learned_from = (work.parts["fit"], work.parts["calibrate"], work.before["calibrate"], extra)
    files = [sha256_of(path) for path in learned_from if path is not None]

    def train() -> PosePrior:
        return train_prior(poses, errors, scale, skeleton, seed, steps, work.say).network

    network = kept(work, f"prior-{half}", [*files, seed, steps], PosePrior(skeleton.num_keypoints), train)
    return TrainedPrior(network, scale, skeleton)


def measure_half(people: Predictions, truth: MatchedLabels, rows: Rows, skeleton: Skeleton) -> PoseErrors:
    """The errors of the people found among some rows."""
    chosen = np.flatnonzero(rows & truth.matched)
    return errors_of_pairs(people.select(chosen), truth.labels.select(truth.found[chosen]), skeleton)


def _write(folder: Path, changed: Mapping[str, Predictions], category: int) -> dict[str, Path]:
    after = {part: folder / f"{part}.json" for part in changed}
    for part, people in changed.items():
        people.save(after[part], category)
    return after


def _draw(work: StageWork, moves: Moves, outcome: Outcome, truth: MatchedLabels) -> list[Path]:
    """Sheets of what was moved; of what the prior advises, where too little was to be seen."""
    before, data = moves.scene.people, work.images("calibrate")
    title = f"People of calibrate whom the stage {'changed' if outcome.raises_ap else 'would change'}"
    moved = Moved("moved", title, before, outcome.calibrate.people, truth)
    title = "People of calibrate as the prior advises in full, which the stage did not do"
    advice = Moved("advice", title, before, moves.advised(), truth)
    return draw_sheets(data, moved, work.folder) or draw_sheets(data, advice, work.folder)


def _declined(outcome: Outcome) -> str:
    if outcome.raises_ap:
        return ""
    return "no part raises AP on calibrate surely enough; " + "; ".join(trial.line() for trial in outcome.trials)


def _figures(trials: Sequence[Trial], poses: LabelledPeople, bench: CalibrationData) -> dict[str, Any]:
    return {
        "training poses": len(poses),
        "people found in calibrate": int(bench.truth.matched.sum()),
        "parts": [trial.line() for trial in trials],
        "chosen": {trial.name: trial.chosen for trial in trials},
    }
