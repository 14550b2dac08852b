"""Made-up batches, candidates and models; functions as session fixtures, so that hypothesis can use them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from sia.batch import PoseBatch
from sia.outputs import Prediction
from sia.registry import ModelConfig


@pytest.fixture(scope="module", autouse=True)
def forkless() -> Iterator[None]:
    """No test forks: scripts/test_export.py may have run in this process (see tests/conftest.py)."""

    def refuse() -> int:
        raise AssertionError("Tests in tests/sia must not fork: the process can hang beside the threads of runtimes.")

    with pytest.MonkeyPatch.context() as context:
        context.setattr(os, "fork", refuse)
        yield


def build_batch(
    people: Sequence[int],
    *,
    size: tuple[int, int] = (64, 96),
    keypoints: int = 17,
    ignored: int = 0,
    padding: int = 0,
    labelled: float = 0.7,
    seed: int = 0,
) -> PoseBatch:
    """len(people) images with so many people each, padded to the most plus `padding` rows.

    `labelled` is the chance of each keypoint to be labelled; what unlabelled and padded places hold is zero.
    """
    g = torch.Generator().manual_seed(seed)
    count, most, (height, width) = len(people), max(people, default=0) + padding, size
    extent = torch.tensor([width, height], dtype=torch.float32)
    centres = torch.rand(count, most, 2, generator=g) * extent
    halves = (0.05 + 0.4 * torch.rand(count, most, 2, generator=g)) * extent / 2
    real = torch.arange(most) < torch.tensor(list(people)).reshape(-1, 1)
    boxes = torch.cat([centres - halves, centres + halves], -1) * real[..., None]
    places = centres[:, :, None] + (torch.rand(count, most, keypoints, 2, generator=g) * 2.4 - 1.2) * halves[:, :, None]
    flags = torch.randint(1, 3, (count, most, keypoints, 1), generator=g).float()
    known = (torch.rand(count, most, keypoints, 1, generator=g) < labelled) & real[..., None, None]
    areas = (4 * halves.prod(-1) * (0.4 + 0.6 * torch.rand(count, most, generator=g))) * real
    corner = torch.rand(count, ignored, 2, generator=g) * extent * 0.7
    regions = torch.cat([corner, corner + 0.3 * extent * torch.rand(count, ignored, 2, generator=g)], -1)
    return PoseBatch(
        images=torch.randint(0, 256, (count, 3, height, width), generator=g, dtype=torch.uint8),
        boxes=boxes,
        keypoints=torch.cat([places, flags], -1) * known,
        areas=areas,
        people=real,
        ignored=regions,
        image_ids=torch.arange(count),
        letterboxes=torch.tensor([[1.0, 0.0, 0.0]]).repeat(count, 1),
        sizes=torch.tensor([[height, width]]).repeat(count, 1),
        files=[f"{i}.jpg" for i in range(count)],
    )


def build_prediction(batch: PoseBatch, candidates: int, seed: int = 0, spread: float = 0.3) -> Prediction:
    """Candidates of an image: half of them people of the batch moved by `spread` of their size, the others anywhere."""
    g = torch.Generator().manual_seed(seed + 1)
    count, keypoints, length = len(batch.images), batch.keypoints.shape[2], max(batch.images.shape[-2:])
    centres = torch.rand(count, candidates, 2, generator=g)
    sizes = 0.05 + 0.4 * torch.rand(count, candidates, 2, generator=g)
    poses = centres[:, :, None] + (torch.rand(count, candidates, keypoints, 2, generator=g) - 0.5) * sizes[:, :, None]
    if batch.people.shape[1]:
        who = torch.randint(0, batch.people.shape[1], (count, candidates), generator=g)
        rows = torch.arange(count)[:, None]
        corners = batch.boxes[rows, who] / length
        near = (torch.rand(count, candidates, 1, generator=g) < 0.5) & batch.people[rows, who][..., None]
        size = (corners[..., 2:] - corners[..., :2]).clamp(min=1e-3)

        def noise(like: Tensor, scale: float = spread) -> Tensor:
            return scale * torch.randn(like.shape, generator=g)

        moved = (corners[..., :2] + corners[..., 2:]) / 2 + noise(size) * size
        known = batch.keypoints[rows, who]
        pose = known[..., :2] / length
        pose = pose + noise(pose, spread / 4) * size[:, :, None]
        centres = torch.where(near, moved, centres)
        poses = torch.where(near[..., None], pose, poses)
        sizes = torch.where(near, size * noise(size).exp(), sizes)
    scores = 2 * torch.randn(count, candidates, generator=g)
    confidences = 2 * torch.randn(count, candidates, keypoints, generator=g)
    return Prediction(scores, torch.cat([centres, sizes], -1), poses, confidences)


def build_config(
    name: str = "sia_pose_simple",
    size: str = "test",
    keypoints: int = 17,
    image_size: tuple[int, int] = (64, 64),
    backbone: str | None = None,
) -> ModelConfig:
    """A model of K keypoints whose mean pose is a diagonal."""
    mean = tuple(((k + 0.5) / keypoints - 0.5, 0.5 - (k + 0.5) / keypoints) for k in range(keypoints))
    sigmas = tuple(0.03 + 0.005 * k for k in range(keypoints))
    return ModelConfig(name, size, keypoints, image_size, mean, sigmas, backbone)


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., PoseBatch]:
    """`build_batch`."""
    return build_batch


@pytest.fixture(scope="session")
def make_prediction() -> Callable[..., Prediction]:
    """`build_prediction`."""
    return build_prediction


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ModelConfig]:
    """`build_config`."""
    return build_config
