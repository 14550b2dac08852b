"""Trains the pose prior: true poses, corrupted as the model at hand errs, and denoised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sia.evaluation.labels import LabelledPeople, frame_of
from sia.evaluation.predictions import Array
from sia.skeletons.skeleton import Skeleton
from stages.error_model.fitting import ALONE, BatchShare, fit, targets
from stages.error_model.pose_errors import CorruptedPoses, PoseErrors, sample_errors
from stages.error_model.pose_input import ConfidenceScale, augment, network_input
from stages.prior.vae import PosePrior, anomaly_score, distances_between, prior_loss

BATCH = 512
FEWEST_STEPS = 300
PASSES = 40
"""Over the poses, but at least `FEWEST_STEPS`."""


@dataclass(frozen=True)
class TrainedPrior:
    """A prior, with what its input needs."""

    network: PosePrior
    scale: ConfidenceScale
    skeleton: Skeleton

    def denoise(self, boxes: Array, keypoints: Array, confidences: Array) -> PriorOutput:
        """What the prior advises for N predicted people, in their pixels."""
        poses, units = network_input(CorruptedPoses(boxes, keypoints, confidences), self.scale, self.skeleton)
        self.network.eval()
        with torch.inference_mode():
            repaired = self.network(poses, units)
            gaps = distances_between(poses[..., :2], repaired.decoded, units)
            parts = repaired.moves, repaired.log_spreads, gaps, anomaly_score(repaired, poses, units)
        moves, *others = (part.double().numpy() for part in parts)
        return PriorOutput(moves * frame_of(boxes)[1], *others)


@dataclass(frozen=True)
class PriorOutput:
    """What priors say about N people.

    Attributes:
        moves: (N, K, 2) what to add to the keypoints, pixels.
        log_spreads: (N, K) logarithm of the scatter of the truth around the decoded pose, units.
        gaps: (N, K) how far the keypoints are from the decoded pose, units.
        anomaly_score: (N,) negative evidence lower bound of the pose as it is: how implausible it is.
    """

    moves: Array
    log_spreads: Array
    gaps: Array
    anomaly_score: Array

    @staticmethod
    def mean(parts: Sequence[PriorOutput], weights: Array) -> PriorOutput:
        """Of several priors; weights (priors, N)."""

        def average(name: str) -> Array:
            stacked = np.stack([getattr(part, name) for part in parts])
            share = (weights / weights.sum(0)).reshape(*weights.shape, *(1,) * (stacked.ndim - 2))
            return np.asarray((stacked * share).sum(0))

        return PriorOutput(*(average(entry.name) for entry in fields(PriorOutput)))


def train_prior(
    poses: LabelledPeople,
    errors: PoseErrors,
    scale: ConfidenceScale,
    skeleton: Skeleton,
    seed: int,
    most_steps: int,
    say: Callable[[str], None] = lambda line: None,
    share: BatchShare = ALONE,
) -> TrainedPrior:
    """Fits a prior; the same seed gives the same weights.

    Args:
        poses: to learn from.
        errors: how they are corrupted.
        scale: of the confidences of the predictions that it will see.
        skeleton: of both.
        seed: of weights, order and errors.
        most_steps: of the optimiser.
        say: prints a line.
        share: of this rank in each batch.
    """
    rng = np.random.default_rng(seed)
    steps = int(min(max(PASSES * len(poses) / BATCH, FEWEST_STEPS), most_steps))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PosePrior(skeleton.num_keypoints)
        course = fit(network, lambda: _loss(network, poses, errors, scale, skeleton, rng, share), steps, 0.05, share)
    mirrored = "" if skeleton.mirrors else ", without mirror images"
    say(f"prior: {steps} steps on {len(poses)} poses, {course}{mirrored}")
    return TrainedPrior(network, scale, skeleton)


def _loss(
    network: PosePrior,
    people: LabelledPeople,
    errors: PoseErrors,
    scale: ConfidenceScale,
    skeleton: Skeleton,
    rng: np.random.Generator,
    share: BatchShare,
) -> Tensor:
    """Of this rank's part of a batch of people: turned, with drawn errors."""
    batch = augment(people.select(rng.integers(len(people), size=BATCH)), skeleton, rng)
    corrupted = sample_errors(errors, batch, skeleton, rng).select(share.rows)
    noise = torch.randn(BATCH, network.latent)[share.rows]
    poses, guessed = network_input(corrupted, scale, skeleton)
    wanted = targets(batch.select(share.rows), corrupted, skeleton)
    return prior_loss(network(poses, guessed, noise), poses, *wanted, share)
