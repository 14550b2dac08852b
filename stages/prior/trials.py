"""What stays of the prior stage: each part is tried on the calibrate part, cross-fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.error_model.labels import Rows
from stages.prior.moves import Moves
from stages.prior.parts import MatchedLabels, Part, PriorContext, cross_fitted
from stages.prior.recalibration import Confidences, Reliability, reliability
from stages.prior.rescoring import Rescoring
from stages.prior.swaps import Swaps
from utils.metrics.matches import find_matches
from utils.metrics.significance import Proof, prove

PARTS: tuple[type[Part], ...] = (Swaps, Moves, Rescoring)

LIKELY = 1.0
"""Standard errors by which a part has to raise AP on the calibrate part. The proof on the test part asks for two."""


@dataclass(frozen=True)
class CalibrationData:
    """The calibrate part, on which everything is chosen.

    Attributes:
        annotations: its file.
        category: id of people in it.
        truth: labels of the predictions.
        folds: (N,) of each prediction.
        seed: of the resamples.
    """

    annotations: Path
    category: int
    truth: MatchedLabels
    folds: Rows
    seed: int


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
        figures = told.words() if isinstance(told, Reliability) else f"AP on calibrate {_change(told)}"
        return f"{self.name}: {figures}, {'kept' if self.kept else 'left out'}"


def _change(proof: Proof) -> str:
    return proof.difference.percent(sign=True)


@dataclass(frozen=True)
class Outcome:
    """What the stage hands on.

    Attributes:
        calibrate: the people, cross-fitted.
        test: the people.
        trials: of all parts.
    """

    calibrate: PriorContext
    test: PriorContext
    trials: tuple[Trial, ...]

    @property
    def raises_ap(self) -> bool:
        """Whether a part that can change AP was kept."""
        return any(trial.kept for trial in self.trials if isinstance(trial.worth, Proof))


def try_all(calibrate: PriorContext, test: PriorContext, bench: CalibrationData, say: Callable[[str], None]) -> Outcome:
    """Swaps, moves and new scores by AP, then confidences by themselves.

    Where no part raises AP, the people returned have all three all the same, for a user who insists.
    """
    outcome = try_parts(calibrate, test, bench, say)
    here, there = outcome.calibrate, outcome.test
    if not outcome.raises_ap:
        for part in PARTS:
            here, there, _ = change(part, here, there, bench)
    here, there, trial = try_confidences(here, there, bench)
    say(f"prior, {trial.line()}")
    return Outcome(here, there, (*outcome.trials, trial))


def try_parts(
    calibrate: PriorContext, test: PriorContext, bench: CalibrationData, say: Callable[[str], None]
) -> Outcome:
    """Tries each part on what the parts kept before it left."""
    here, there, trials = calibrate, test, list[Trial]()
    before = find_matches(bench.annotations, calibrate.people.rows(bench.category), calibrate.skeleton)
    for part in PARTS:
        new_here, new_there, chosen = change(part, here, there, bench)
        after = find_matches(bench.annotations, new_here.people.rows(bench.category), calibrate.skeleton)
        proof = prove(before, after, bench.seed)
        trials.append(Trial(part.name, proof, gains(proof), chosen))
        say(f"prior, {trials[-1].line()}")
        if trials[-1].kept:
            here, there, before = new_here, new_there, after
    return Outcome(here, there, tuple(trials))


def try_confidences(
    calibrate: PriorContext, test: PriorContext, bench: CalibrationData
) -> tuple[PriorContext, PriorContext, Trial]:
    """New confidences and variances for both, where the Brier score says so; poses and scores stay."""
    here, there, chosen = change(Confidences, calibrate, test, bench)
    worth = reliability(calibrate.people, here.people, bench.truth)
    trial = Trial(Confidences.name, worth, worth.is_gain, chosen)
    return (here, there, trial) if trial.kept else (calibrate, test, trial)


def change(
    part: type[Part], calibrate: PriorContext, test: PriorContext, bench: CalibrationData
) -> tuple[PriorContext, PriorContext, dict[str, Any]]:
    """Both scenes with the part applied, cross-fitted on the first; and what it chose on the whole of the first."""
    fitted = part(calibrate)
    chosen = fitted.fit(bench.truth, np.ones(len(bench.folds), dtype=bool))
    changed = cross_fitted(fitted, bench.truth, bench.folds)
    new_test = replace(test, people=part(test).apply(chosen))
    return replace(calibrate, people=changed), new_test, fitted.describe(chosen)


def gains(proof: Proof) -> bool:
    """Whether AP rose by more than `LIKELY` standard errors."""
    interval = proof.difference
    return proof.changed and interval.value > max(LIKELY * (interval.high - interval.low) / 3.92, 1e-6)
