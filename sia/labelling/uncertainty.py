"""How unsure a model is of an image: it sees the mirror image too, and its people of both are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.errors import ConfigError
from sia.people import People
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from sia.skeletons.oks import AREA_OF_BOX, pairwise_oks_terms
from sia.skeletons.skeleton import Skeleton

LIKELY = 0.2
"""Score from which on a candidate counts; of an image without such candidates the best one does."""

SHIFT = 8
"""Pixels by which the second view is moved where nothing may be mirrored."""


@dataclass(frozen=True)
class Uncertainty:
    """What the model made of one image.

    Attributes:
        value: in [0, 1], the mean over its people of what is missing to 1 of flip agreement and of expected OKS.
        people: that counted.
        agreement: mean OKS of these people to their closest ones in the mirror image.
        score: their mean score, the OKS that the model expects.
        embedding: (D,) float32 of length 1, mean of the patches' features.
    """

    value: float
    people: int
    agreement: float
    score: float
    embedding: NDArray[np.float32]


class UncertaintyEstimator:
    """A model and its doubts.

    Args:
        predictor: of a checkpoint: an export gives no features.

    Raises:
        ConfigError: it is an export.
    """

    def __init__(self, predictor: Predictor) -> None:
        if not isinstance(predictor.runtime, TorchRuntime):
            raise ConfigError(f"{predictor.runtime.source} is an export, without features. Give the weights (.pt).")
        self.predictor = predictor
        self._features: list[Tensor] = []
        predictor.runtime.model.norm_patches.register_forward_hook(
            lambda _module, _inputs, patches: self._features.append(patches)
        )

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> list[Uncertainty]:
        """(H, W, 3) uint8 RGB images -> what the model made of each; the mirror images are in the same batch."""
        self._features.clear()
        skeleton = self.predictor.skeleton
        found = self.predictor.predict([*images, *(second_view(image, skeleton) for image in images)])
        embeddings = torch.cat(self._features).float().mean(1).cpu().numpy()
        both = embeddings[: len(images)] + embeddings[len(images) :]
        both /= np.linalg.norm(both, axis=1, keepdims=True).clip(min=1e-9)
        return [
            _uncertainty(plain, back(other, image.shape[1], skeleton), skeleton, embedding)
            for plain, other, image, embedding in zip(
                found[: len(images)], found[len(images) :], images, both, strict=True
            )
        ]


def second_view(image: NDArray[np.uint8], skeleton: Skeleton) -> NDArray[np.uint8]:
    """The mirror image; where the skeleton forbids it, the image moved to the right by `SHIFT` pixels."""
    return np.ascontiguousarray(image[:, ::-1] if skeleton.mirrors else np.roll(image, SHIFT, axis=1))


def back(people: People, width: int, skeleton: Skeleton) -> People:
    """People of the `second_view` of an image of so many pixels -> people of the image."""
    if not skeleton.mirrors:
        return replace(people, boxes=people.boxes - [SHIFT, 0, SHIFT, 0], keypoints=people.keypoints - [SHIFT, 0])
    x1, y1, x2, y2 = people.boxes.T
    keypoints = people.keypoints[:, skeleton.flip_order]
    keypoints[..., 0] = width - keypoints[..., 0]
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return replace(people, boxes=boxes, keypoints=keypoints, confidences=people.confidences[:, skeleton.flip_order])


def _uncertainty(plain: People, mirrored: People, skeleton: Skeleton, embedding: NDArray[np.float32]) -> Uncertainty:
    likely = plain.above(LIKELY) if (plain.scores >= LIKELY).any() else plain[:1]
    if not len(likely) or not len(mirrored):
        return Uncertainty(0.0, 0, 1.0, 0.0, embedding)
    sides = [(people.boxes[:, 2:] - people.boxes[:, :2]).astype(np.float64) for people in (likely, mirrored)]
    areas = [AREA_OF_BOX * side.prod(1) for side in sides]
    terms = pairwise_oks_terms(likely.keypoints, areas[0], mirrored.keypoints, areas[1], skeleton.sigmas)
    agreement, score = float(terms.mean(-1).max(1).mean()), float(likely.scores.mean())
    return Uncertainty(1 - (agreement + score) / 2, len(likely), agreement, score, embedding)
