"""How unsure a model is of an image: it sees the mirror image too, and its people of both are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.errors import ConfigError
from sia.people import People
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from sia.runtimes.views import agreement, back, second_view
from sia.skeletons.skeleton import Skeleton

LIKELY = 0.2
"""Score from which on a candidate counts; of an image without such candidates the best one does."""


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


def _uncertainty(plain: People, mirrored: People, skeleton: Skeleton, embedding: NDArray[np.float32]) -> Uncertainty:
    likely = plain.above(LIKELY) if (plain.scores >= LIKELY).any() else plain[:1]
    if not len(likely) or not len(mirrored):
        return Uncertainty(0.0, 0, 1.0, 0.0, embedding)
    agreed, score = float(agreement(likely, mirrored, skeleton).mean()), float(likely.scores.mean())
    return Uncertainty(1 - (agreed + score) / 2, len(likely), agreed, score, embedding)
