"""Trains the pose refinement network: true poses in their images, corrupted as the model at hand errs, and denoised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datasets.coco.coco_pose import CocoPose
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.crops import Crops, crop_people, read_crops, view_crops
from stages.ensemble.refinement_network import PoseRefinementNetwork, correction_loss
from stages.error_model.box_frame import frame_of
from stages.error_model.fitting import fit, targets
from stages.error_model.labels import LabelledPeople
from stages.error_model.pose_errors import PoseErrors
from stages.error_model.pose_input import ConfidenceScale, draw_turns, network_input, turn_people
from stages.error_model.sampling import CorruptedPoses, sample_errors
from utils.metrics.predictions import Array, Predictions

BATCH = 32
MOST_PEOPLE = 6000
"""Whose squares are kept in memory, 38 kB each."""

COLOUR = 0.2
"""Standard deviation of what is done to contrast and, in units of the network, to each channel's brightness."""


@dataclass(frozen=True)
class TrainingCrops:
    """Labelled people and their squares of the images, row by row."""

    people: LabelledPeople
    crops: Crops

    @classmethod
    def read(cls, images: CocoPose, people: LabelledPeople, seed: int) -> TrainingCrops:
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


def moves_in(
    images: CocoPose, people: Predictions, asked: Callable[[int], Sequence[TrainedRefinementNetwork]]
) -> Array:
    """(N, K, 2) mean move of each keypoint, pixels.

    Args:
        images: which the people are in.
        people: N of them.
        asked: the refinement networks to ask, by the id of an image.

    Raises:
        DataError: an image can't be read.
    """
    moves = np.zeros(people.keypoints.shape)
    for index, image_id in enumerate(images.image_ids):
        rows = np.flatnonzero(people.image_ids == image_id)
        if len(rows):
            group = people.select(rows)
            crops = crop_people(images.read_image(index), group.boxes)
            moves[rows] = np.mean(
                [refinement_network.moves(crops, group) for refinement_network in asked(image_id)], axis=0
            )
    return moves


def train_refinement_network(
    training_crops: TrainingCrops,
    errors: PoseErrors,
    scale: ConfidenceScale,
    skeleton: Skeleton,
    seed: int,
    steps: int,
    say: Callable[[str], None] = lambda line: None,
) -> TrainedRefinementNetwork:
    """Fits a refinement network; the same seed gives the same weights.

    Args:
        training_crops: to learn from.
        errors: how the poses are corrupted.
        scale: of the confidences of the predictions that it will see.
        skeleton: of both.
        seed: of weights, order and errors.
        steps: of the optimiser, `BATCH` people each.
        say: prints a line.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PoseRefinementNetwork(skeleton.num_keypoints)
    course = fit(network, lambda: _loss(network, training_crops, errors, scale, skeleton, rng), steps, warm_up=0.1)
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
) -> Tensor:
    """Of some people, turned, corrupted and with other colours."""
    rows = rng.integers(len(training_crops.people), size=BATCH)
    people, turns = training_crops.people.select(rows), draw_turns(len(rows), skeleton, rng)
    pivots = frame_of(people.boxes)[0][:, 0]
    people = turn_people(people, turns, skeleton)
    corrupted = sample_errors(errors, people, skeleton, rng)
    pixels = _recolour(view_crops(training_crops.crops.select(rows), corrupted.boxes, turns, pivots), rng)
    poses, guessed = network_input(corrupted, scale, skeleton)
    return correction_loss(network(pixels, poses, guessed), *targets(people, corrupted, skeleton))


def _recolour(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    factors, shifts = (COLOUR * rng.standard_normal((len(pixels), channels, 1, 1)) for channels in (1, 3))
    return pixels * torch.from_numpy(1 + factors).float() + torch.from_numpy(shifts).float()
