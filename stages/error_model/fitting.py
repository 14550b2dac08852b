"""How the prior and the refinement network are fitted to corrupted poses: what to restore, and the training loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sia.errors import ConfigError
from sia.io.checkpoint import read_state_dict, save_checkpoint
from sia.io.weights import load_weights
from sia.skeletons.skeleton import Skeleton
from stages.error_model.box_frame import frame_of, to_box
from stages.error_model.labels import LabelledPeople
from stages.error_model.sampling import CorruptedPoses
from stages.stage import StageWork

LEARNING_RATE = 2e-3
"""At its peak."""

Network = TypeVar("Network", bound=nn.Module)


def kept(
    work: StageWork, name: str, made_of: Sequence[str | int], network: Network, train: Callable[[], Network]
) -> Network:
    """A network of an earlier call with the same ingredients, or else one that is trained now and kept in a file.

    Args:
        work: of the stage, whose folder keeps it.
        name: how the file's name begins.
        made_of: all that decides the weights: numbers that were given, and digests of files. Nothing computed, which
            another processor would round in another way.
        network: takes the weights.
        train: makes a trained one.

    Raises:
        ConfigError: new images are looked at, and there is no such file.
        WeightsError: the file of an earlier call is broken.
        OutputError: the file can't be written.
    """
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    path = work.folder / f"{name}-{digest}.pt"
    if not path.is_file() and work.test_root is not None:
        raise ConfigError(f"The pipeline has not kept {path.name}, so it can't be used on new images. Run it anew.")
    if not path.is_file():
        save_checkpoint(path, train().state_dict())
    load_weights(network, read_state_dict(path), path, "Delete the file: it is made again.")
    return network.eval()


def fit(network: nn.Module, loss: Callable[[], Tensor], steps: int, warm_up: float) -> str:
    """Trains by AdamW, one cycle.

    Args:
        network: in evaluation mode afterwards.
        loss: of the next batch, once a step.
        steps: of the optimiser.
        warm_up: fraction of them in which the learning rate rises.

    Returns:
        How the loss went, such as ``loss 3.249 -> 3.045``.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=warm_up)
    network.train()
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(value.detach()))
    network.eval()
    return f"loss {np.mean(losses[:20]):.3f} -> {np.mean(losses[-100:]):.3f}"


def targets(people: LabelledPeople, corrupted: CorruptedPoses, skeleton: Skeleton) -> tuple[Tensor, Tensor, Tensor]:
    """What the corrupted people should be, relative to their drawn boxes.

    Returns:
        (M, K, 2) keypoints and (M, K) units, float32, and (M, K) whether a keypoint is labelled; one that isn't should
        stay where it is.
    """
    known = np.where(people.labelled[..., None], people.keypoints, corrupted.keypoints)
    units = people.units(skeleton.sigmas) / frame_of(corrupted.boxes)[1][..., 0]
    points = torch.from_numpy(to_box(known, corrupted.boxes))
    return points.float(), torch.from_numpy(units).float(), torch.from_numpy(people.labelled)
