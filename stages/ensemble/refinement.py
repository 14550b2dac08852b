"""The last part of the ensemble: poses corrected by a small network that looks at the image once more.

It learns to undo, in the images of ``fit``, the errors that are measured on ``calibrate``: two networks, each with the
errors of one half of ``calibrate``, of which each corrects the other half, and both correct new images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from sia.coco.coco_files import load_ground_truth
from sia.evaluation.labels import LabelledPeople, Rows, frame_of, labelled_people, match_labels
from sia.evaluation.matches import find_matches
from sia.evaluation.predictions import Array, Predictions
from sia.io.input_file import sha256_of
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.crops import Crops, crop_people, read_crops, view_crops
from stages.ensemble.refinement_network import PoseRefinementNetwork, correction_loss
from stages.error_model.fitting import ALONE, BatchShare, fit, share_statistics, targets, trained
from stages.error_model.folds import CalibrationSet
from stages.error_model.pose_errors import FEWEST_PEOPLE, CorruptedPoses, PoseErrors, errors_of_pairs, sample_errors
from stages.error_model.pose_input import ConfidenceScale, confidence_scale, draw_turns, network_input, turn_people
from stages.evaluator import on_first_rank
from stages.stage import Images, StageInput

BATCH = 32
MOST_PEOPLE = 6000
"""Whose crops are kept in memory, 38 kB each."""

COLOUR = 0.2
"""Standard deviation of what is done to contrast and, in units of the network, to each channel's brightness."""

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the refinement network's moves, one of which is chosen."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class Candidate(Generic[Part]):
    """What a way to make people better left.

    Attributes:
        fitted: the way; None where it was refused.
        people: of ``calibrate``, cross-fitted; as they came in where it was refused.
        refused: why it was; empty otherwise.
        figures: for the report.
    """

    fitted: Part | None
    people: Predictions
    refused: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingCrops:
    """Labelled people and their crops, row by row."""

    people: LabelledPeople
    crops: Crops

    @classmethod
    def read(cls, images: Images, people: LabelledPeople, seed: int) -> TrainingCrops:
        """Of at most `MOST_PEOPLE`, whom the seed chooses.

        Raises:
            DataError: an image can't be read.
        """
        if len(people) > MOST_PEOPLE:
            people = people.select(np.random.default_rng(seed).permutation(len(people))[:MOST_PEOPLE])
        return cls(people, read_crops(images, people.image_ids, people.boxes))


@dataclass(frozen=True)
class TrainedRefinementNetwork:
    """A refinement network, with what its input needs."""

    network: PoseRefinementNetwork
    scale: ConfidenceScale
    skeleton: Skeleton

    def moves(self, crops: Crops, people: Predictions) -> Array:
        """(N, K, 2) what to add to the keypoints of the people in the crops, pixels."""
        corrupted = CorruptedPoses(people.boxes, people.keypoints, people.confidences)
        poses, units = network_input(corrupted, self.scale, self.skeleton)
        self.network.eval()
        with torch.inference_mode():
            corrected = self.network(view_crops(crops, people.boxes), poses, units)
            moves = corrected.stages[-1] - poses[..., :2]
        return np.asarray(moves.double().numpy() * frame_of(people.boxes)[1])


@dataclass(frozen=True)
class Refinement:
    """Correctors, and which fraction of their mean moves is made."""

    refinement_networks: Sequence[TrainedRefinementNetwork]
    fraction: float

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """The people of the images, moved.

        Raises:
            DataError: an image can't be read.
        """
        moves = moves_in(images, people, lambda image_id: self.refinement_networks)
        return _moved(people, moves, np.full(len(people), self.fraction))


def moves_in(images: Images, people: Predictions, asked: Callable[[int], Sequence[TrainedRefinementNetwork]]) -> Array:
    """(N, K, 2) mean move of each keypoint, pixels; 0 for people in other images.

    Args:
        images: to look at.
        people: N of them.
        asked: the refinement networks to ask, by the id of an image.

    Raises:
        DataError: an image can't be read.
    """
    moves = np.zeros(people.keypoints.shape)
    for image_id in images.ids:
        rows = np.flatnonzero(people.image_ids == image_id)
        if len(rows):
            group = people.select(rows)
            crops = crop_people(images.read(image_id), group.boxes)
            moves[rows] = np.mean(
                [refinement_network.moves(crops, group) for refinement_network in asked(image_id)], axis=0
            )
    return moves


def refine(work: StageInput, people: Predictions, calibrate: CalibrationSet, source: str) -> Candidate[Refinement]:
    """Trains the refinement networks, and keeps them where the cross-fitted AP on ``calibrate`` rises; on all ranks.

    Args:
        work: of the stage.
        people: of ``calibrate``.
        calibrate: the labels.
        source: digest of what the people were made from.

    Raises:
        DataError: images or annotations can't be read.
        WeightsError: a refinement network of an earlier call, in the stage's folder, is broken.
    """
    if not work.config.refinement_steps:
        return _refuse(people, "the refinement network is off (-REFINEMENT_STEPS 0)")
    training_crops = labelled_people(load_ground_truth(work.splits["fit"], calibrate.skeleton))
    halves = [people.of_images(ids) for ids in calibrate.halves()]
    matched = [match_labels(half, calibrate.labels, calibrate.skeleton.sigmas) for half in halves]
    found, where = min(int((rows >= 0).sum()) for rows in matched), "found in a half of calibrate"
    if found >= FEWEST_PEOPLE:
        found, where = len(training_crops), "labelled in fit"
    if found < FEWEST_PEOPLE:
        labelled = "labelled people are" if where.startswith("found") else "people are"
        return _refuse(people, f"only {found} {labelled} {where}: too few for a refinement network")
    refinement_networks = _train_both(work, halves, matched, training_crops, calibrate, source)
    moves = _moves_of_calibrate(work, people, calibrate, refinement_networks)
    fraction, crossed, figures = on_first_rank(lambda: choose(people, moves, calibrate))
    work.say(f"ensemble, refinement network: {_line(figures)}")
    if figures["decision"] != "kept":
        return Candidate(None, people, "the refinement network does not raise AP on the calibrate part", figures)
    return Candidate(Refinement(refinement_networks, fraction), crossed, "", figures)


def _refuse(people: Predictions, reason: str) -> Candidate[Refinement]:
    return Candidate(None, people, reason, {"decision": f"left out: {reason}"})


def _train_both(
    work: StageInput, halves: Sequence[Predictions], matched: Sequence[Rows], people: LabelledPeople,
    calibrate: CalibrationSet, source: str,
) -> list[TrainedRefinementNetwork]:  # fmt: skip
    """A refinement network with the errors of each half; the stage's folder keeps them."""
    skeleton, seed, steps = calibrate.skeleton, work.config.seed, work.config.refinement_steps
    files = [sha256_of(work.splits[split]) for split in ("fit", "calibrate")]

    @cache
    def training_crops() -> TrainingCrops:
        with work.ranks.shared_errors():
            read = TrainingCrops.read(Images.of_split(work.data("fit", skeleton)), people, seed)
        return read

    def refinement_network(number: int) -> TrainedRefinementNetwork:
        half, rows = halves[number], matched[number]
        labels = calibrate.labels.select(rows[rows >= 0])
        errors = on_first_rank(lambda: errors_of_pairs(half.select(rows >= 0), labels, skeleton))
        scale = confidence_scale(half)

        def train() -> PoseRefinementNetwork:
            with BatchShare(work.ranks) as share:
                made = train_refinement_network(
                    training_crops(), errors, scale, skeleton, seed + number, steps, work.say, share
                )
            return made.network

        ingredients: list[str | int] = [source, *files, seed + number, steps]
        network = trained(
            work, f"refinement-{number}", ingredients, PoseRefinementNetwork(skeleton.num_keypoints), train
        )
        return TrainedRefinementNetwork(network, scale, skeleton)

    return [refinement_network(number) for number in (0, 1)]


def _moves_of_calibrate(
    work: StageInput,
    people: Predictions,
    calibrate: CalibrationSet,
    refinement_networks: Sequence[TrainedRefinementNetwork],
) -> Array:
    """(N, K, 2) pixels; who measured an image's errors isn't asked about it. All ranks share the images."""
    first, ranks = set(calibrate.halves()[0].tolist()), work.ranks
    images = Images.of_split(work.data("calibrate", calibrate.skeleton))
    mine, moves = images.select(images.ids[ranks.rank :: ranks.world_size]), np.zeros(people.keypoints.shape)
    with ranks.shared_errors():
        moves = moves_in(mine, people, lambda image_id: [refinement_networks[image_id in first]])
    return np.asarray(np.sum(ranks.gather(moves), axis=0))


def choose(people: Predictions, moves: Array, calibrate: CalibrationSet) -> tuple[float, Predictions, dict[str, Any]]:
    """The fraction of the moves with the highest AP, each fold of ``calibrate`` by what the others say.

    Args:
        people: of ``calibrate``.
        moves: (N, K, 2), pixels.
        calibrate: the labels.

    Returns:
        The fraction that all of ``calibrate`` says, the cross-fitted people, and figures with the decision.
    """
    category, skeleton = calibrate.truth.category, calibrate.skeleton
    versions = [_moved(people, moves, np.full(len(people), fraction)).rows(category) for fraction in FRACTIONS]
    matches = [find_matches(calibrate.path, rows, skeleton) for rows in versions]

    def best(without: Rows) -> float:
        weights = (~np.isin(matches[0].image_ids, without)).astype(np.int64)[None]
        return FRACTIONS[int(np.argmax([np.nan_to_num(one.average_precision(weights)[0]) for one in matches]))]

    fractions, fraction = np.zeros(len(people)), best(np.zeros(0, np.int64))
    for fold in calibrate.folds:
        fractions[np.isin(people.image_ids, fold)] = best(fold)
    crossed = _moved(people, moves, fractions)
    before, after = calibrate.precision(people), calibrate.precision(crossed)
    decision = "kept" if after > before and fraction > 0 else "left out"
    return fraction, crossed, {
        "AP before": before, "AP after": after, "fraction of its moves": fraction, "decision": decision,
    }  # fmt: skip


def _moved(people: Predictions, moves: Array, fractions: Array) -> Predictions:
    return replace(people, keypoints=people.keypoints + fractions[:, None, None] * moves)


def _line(figures: Mapping[str, Any]) -> str:
    before, after = (f"{100 * figures[name]:.1f}" for name in ("AP before", "AP after"))
    fraction, decision = figures["fraction of its moves"], figures["decision"]
    return f"{before} -> {after} AP on calibrate, cross-fitted, with {fraction:g} of its moves; {decision}"


def train_refinement_network(
    training_crops: TrainingCrops,
    errors: PoseErrors,
    scale: ConfidenceScale,
    skeleton: Skeleton,
    seed: int,
    steps: int,
    say: Callable[[str], None] = lambda line: None,
    share: BatchShare = ALONE,
) -> TrainedRefinementNetwork:
    """Fits a refinement network; the same seed gives the same weights.

    Args:
        training_crops: to learn from.
        errors: to draw.
        scale: of the confidences of the predictions that it will see.
        skeleton: of both.
        seed: of weights, order and errors.
        steps: of the optimiser, `BATCH` people each.
        say: prints a line.
        share: of this rank in each batch.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = share_statistics(PoseRefinementNetwork(skeleton.num_keypoints), share)
    course = fit(
        network, lambda: _loss(network, training_crops, errors, scale, skeleton, rng, share), steps, 0.1, share
    )
    mirrored = "" if skeleton.mirrors else ", without mirror images"
    say(f"refinement network: {steps} steps on {len(training_crops.people)} people, {course}{mirrored}")
    return TrainedRefinementNetwork(network, scale, skeleton)


def _loss(
    network: PoseRefinementNetwork,
    training_crops: TrainingCrops,
    errors: PoseErrors,
    scale: ConfidenceScale,
    skeleton: Skeleton,
    rng: np.random.Generator,
    share: BatchShare,
) -> Tensor:
    """Of this rank's part of a batch of people: turned, with drawn errors and other colours."""
    rows, mine = rng.integers(len(training_crops.people), size=BATCH), share.rows
    people, turns = training_crops.people.select(rows), draw_turns(len(rows), skeleton, rng)
    pivots = frame_of(people.boxes)[0][:, 0]
    people = turn_people(people, turns, skeleton)
    corrupted = sample_errors(errors, people, skeleton, rng)
    factors, shifts = (COLOUR * rng.standard_normal((len(rows), channels, 1, 1)) for channels in (1, 3))
    people, corrupted = people.select(mine), corrupted.select(mine)
    pixels = view_crops(training_crops.crops.select(rows[mine]), corrupted.boxes, turns[mine], pivots[mine])
    pixels = pixels * torch.from_numpy(1 + factors[mine]).float() + torch.from_numpy(shifts[mine]).float()
    poses, guessed = network_input(corrupted, scale, skeleton)
    return correction_loss(network(pixels, poses, guessed), *targets(people, corrupted, skeleton), share)
