"""The last part of the ensemble: poses corrected by a small network that looks at the image once more.

It learns to undo, in the images of ``fit``, the errors that are measured on ``calibrate``: two networks, each with
the errors of one half of ``calibrate``, of which each corrects the other half, and both correct ``test``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from stages.ensemble.refinement_network import PoseRefinementNetwork
from stages.ensemble.refinement_training import (
    TrainedRefinementNetwork,
    TrainingCrops,
    moves_in,
    train_refinement_network,
)
from stages.error_model.fitting import kept
from stages.error_model.folds import CalibrationSet, Candidate, People, in_images
from stages.error_model.labels import LabelledPeople, Rows, labelled_people, match_labels
from stages.error_model.pose_errors import FEWEST_PEOPLE, errors_of_pairs
from stages.error_model.pose_input import confidence_scale
from stages.stage import StageWork
from utils.hub.model_store import sha256_of
from utils.metrics.matches import find_matches
from utils.metrics.predictions import Array, Predictions

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the refinement network's moves, one of which is chosen."""


@dataclass(frozen=True)
class Half:
    """What one half of ``calibrate`` tells.

    Attributes:
        people: everybody found.
        found: (F,) those of them who are somebody.
        labels: (F,) who they are.
    """

    people: Predictions
    found: Predictions
    labels: LabelledPeople

    @classmethod
    def of(cls, people: Predictions, image_ids: Rows, calibrate: CalibrationSet) -> Half:
        """Matches the people of some images with their labels."""
        inside = in_images(people, image_ids)
        rows = match_labels(inside, calibrate.labels, calibrate.skeleton.sigmas)
        return cls(inside, inside.select(rows >= 0), calibrate.labels.select(rows[rows >= 0]))


def correct(work: StageWork, people: People, calibrate: CalibrationSet, source: str) -> Candidate:
    """Trains the refinement networks, and applies them where the cross-fitted AP on ``calibrate`` rises.

    Args:
        work: of the stage.
        people: of ``calibrate`` and ``test``.
        calibrate: the labels.
        source: digest of what the people of ``calibrate`` were made from.

    Raises:
        DataError: images or annotations can't be read.
        WeightsError: a refinement network of an earlier call, in the stage's folder, is broken.
    """
    if not work.config.refinement_steps:
        return _refuse(people, "the refinement network is off (-REFINEMENT_STEPS 0)")
    training_crops = labelled_people(work.truth("fit", calibrate.skeleton))
    halves = [Half.of(people["calibrate"], ids, calibrate) for ids in calibrate.halves()]
    lacking = _lacking(min(len(half.labels) for half in halves), len(training_crops))
    if lacking:
        return _refuse(people, lacking)
    moves = moves_of(work, people, calibrate, train(work, halves, training_crops, calibrate, source))
    correction = choose(people, moves, calibrate)
    work.say(f"ensemble, refinement network: {_line(correction.figures)}")
    return correction


def _lacking(found: int, labelled: int) -> str:
    """What there is too little of, if anything: people found in a half of ``calibrate``, or labelled in ``fit``."""
    if found < FEWEST_PEOPLE:
        return f"only {found} labelled people are found in a half of calibrate: too few for a refinement network"
    if labelled < FEWEST_PEOPLE:
        return f"only {labelled} people are labelled in fit: too few for a refinement network"
    return ""


def _refuse(people: People, reason: str) -> Candidate:
    return Candidate(people, reason, {"decision": f"left out: {reason}"})


def train(
    work: StageWork, halves: Sequence[Half], people: LabelledPeople, calibrate: CalibrationSet, source: str
) -> list[TrainedRefinementNetwork]:
    """A refinement network with the errors of each half; the stage's folder keeps them."""

    @cache
    def training_crops() -> TrainingCrops:
        images = work.images("fit", calibrate.skeleton)
        return TrainingCrops.read(images, people, work.config.seed)

    files = [sha256_of(work.parts[part]) for part in ("fit", "calibrate")]
    return [
        _train(work, number, half, training_crops, calibrate, [source, *files]) for number, half in enumerate(halves)
    ]


def _train(
    work: StageWork,
    number: int,
    half: Half,
    training_crops: Callable[[], TrainingCrops],
    calibrate: CalibrationSet,
    made_of: Sequence[str],
) -> TrainedRefinementNetwork:
    skeleton, seed, steps = calibrate.skeleton, work.config.seed + number, work.config.refinement_steps
    errors, scale = errors_of_pairs(half.found, half.labels, skeleton), confidence_scale(half.people)

    def train() -> PoseRefinementNetwork:
        return train_refinement_network(training_crops(), errors, scale, skeleton, seed, steps, work.say).network

    network = kept(
        work,
        f"refinement network-{number}",
        [*made_of, seed, steps],
        PoseRefinementNetwork(skeleton.num_keypoints),
        train,
    )
    return TrainedRefinementNetwork(network, scale, skeleton)


def moves_of(
    work: StageWork, people: People, calibrate: CalibrationSet, refinement_networks: Sequence[TrainedRefinementNetwork]
) -> dict[str, Array]:
    """(N, K, 2) of each part, pixels; in ``calibrate``, who measured an image's errors isn't asked about it."""
    first = set(calibrate.halves()[0].tolist())
    asked = {
        "calibrate": lambda image_id: [refinement_networks[image_id in first]],
        "test": lambda image_id: refinement_networks,
    }
    images = {part: work.images(part, calibrate.skeleton) for part in asked}
    return {part: moves_in(images[part], people[part], asked[part]) for part in asked}


def choose(people: People, moves: Mapping[str, Array], calibrate: CalibrationSet) -> Candidate:
    """The fraction of the moves with the highest AP, each fold of ``calibrate`` by what the others say.

    Args:
        people: of ``calibrate`` and ``test``.
        moves: (N, K, 2) of each of them, pixels.
        calibrate: the labels.
    """
    here, there = people["calibrate"], people["test"]
    shares, share = _best_shares(here, moves["calibrate"], calibrate)
    crossed = _moved(here, moves["calibrate"], shares)
    before, after = calibrate.precision(here), calibrate.precision(crossed)
    kept = after > before and share > 0
    decision = "kept" if kept else "left out"
    figures = {"AP before": before, "AP after": after, "fraction of its moves": share, "decision": decision}
    if not kept:
        return Candidate(people, "the refinement network does not raise AP on the calibrate part", figures)
    moved = _moved(there, moves["test"], np.full(len(there), share))
    return Candidate({"calibrate": crossed, "test": moved}, "", figures)


def _best_shares(people: Predictions, moves: Array, calibrate: CalibrationSet) -> tuple[Array, float]:
    """(N,) each person's share, as the other folds say; and the share that all of ``calibrate`` says."""
    versions = [_moved(people, moves, np.full(len(people), share)).rows(calibrate.category) for share in SHARES]
    matches = [find_matches(calibrate.path, rows, calibrate.skeleton) for rows in versions]

    def best(without: Rows) -> float:
        weights = (~np.isin(matches[0].image_ids, without)).astype(np.int64)[None]
        return SHARES[int(np.argmax([np.nan_to_num(one.average_precision(weights)[0]) for one in matches]))]

    shares = np.zeros(len(people))
    for fold in calibrate.folds:
        shares[np.isin(people.image_ids, fold)] = best(fold)
    return shares, best(np.zeros(0, np.int64))


def _moved(people: Predictions, moves: Array, shares: Array) -> Predictions:
    return replace(people, keypoints=people.keypoints + shares[:, None, None] * moves)


def _line(figures: Mapping[str, Any]) -> str:
    before, after = (f"{100 * figures[name]:.1f}" for name in ("AP before", "AP after"))
    share, decision = figures["fraction of its moves"], figures["decision"]
    return f"{before} -> {after} AP on calibrate, cross-fitted, with {share:g} of its moves; {decision}"
