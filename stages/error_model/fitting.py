"""How the refinement network and the prior are fitted to true poses with drawn errors; all ranks share each batch."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sia.evaluation.labels import LabelledPeople, frame_of, to_box
from sia.io.checkpoint import read_state_dict, save_checkpoint
from sia.io.weights import load_weights
from sia.skeletons.skeleton import Skeleton
from stages.error_model.pose_errors import CorruptedPoses
from stages.stage import StageInput
from utils.distributed.context import DistributedContext
from utils.optimizer import one_cycle

LEARNING_RATE = 2e-3
"""At its peak."""

Network = TypeVar("Network", bound=nn.Module)


class BatchShare:
    """This rank's part of every batch: each rank draws the whole batch by the same seed, and takes its rows.

    Attributes:
        rows: of a batch.
        world_size: how many ranks share it.
    """

    def __init__(self, ranks: DistributedContext | None = None) -> None:
        self.world_size = 1 if ranks is None else ranks.world_size
        self.rows = slice(None) if ranks is None else slice(ranks.rank, None, ranks.world_size)
        # The networks are small and stay on CPUs, where NCCL has no say.
        self._group = dist.new_group(backend="gloo") if self.world_size > 1 else None

    def sum(self, value: Tensor) -> Tensor:
        """Over all ranks, equal on each; gradients flow back to all."""
        if self._group is None:
            return value
        total: Tensor = _Sum.apply(value, self._group)
        return total

    def __enter__(self) -> BatchShare:
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            dist.destroy_process_group(self._group)


class _Sum(torch.autograd.Function):
    """Over a group, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        ctx.group, total = group, value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


ALONE = BatchShare()


class SharedBatchNorm(nn.BatchNorm2d):
    """Normalises by the batch of all ranks: PyTorch's own such layer is for GPUs only."""

    share: BatchShare

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        count = self.share.sum(torch.tensor(float(input.numel() // input.shape[1])))
        mean = self.share.sum(input.sum((0, 2, 3))) / count
        centred = input - mean[:, None, None]
        variance = self.share.sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum or 0.0)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def share_statistics(network: Network, share: BatchShare) -> Network:
    """The network as one rank trains it, alone or with others."""
    if share.world_size == 1:
        return network
    shared = copy.deepcopy(network)
    for module in shared.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm
            vars(module)["share"] = share
    return shared


def trained(
    work: StageInput, name: str, made_of: Sequence[str | int], network: Network, train: Callable[[], Network]
) -> Network:
    """A network of an earlier call with the same ingredients, or else one that all ranks train now.

    Args:
        work: of the stage, whose folder keeps it.
        name: how the file's name begins.
        made_of: all that decides the weights: numbers that were given, and digests of files. Nothing computed, which
            another processor would round in another way.
        network: takes the weights.
        train: makes a trained one.

    Raises:
        WeightsError: the file of an earlier call is broken.
        OutputError: the file can't be written.
    """
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    path = work.folder / f"{name}-{digest}.pt"
    if not work.ranks.from_main(path.is_file()):
        made = train()
        with work.ranks.shared_errors():
            if work.ranks.is_main:
                save_checkpoint(path, made.state_dict())
    with work.ranks.shared_errors():
        load_weights(network, read_state_dict(path), path, "Delete the file: it is made again.")
    return network.eval()


def fit(network: nn.Module, loss: Callable[[], Tensor], steps: int, warm_up: float, share: BatchShare = ALONE) -> str:
    """Trains by AdamW, one cycle.

    Args:
        network: in evaluation mode afterwards.
        loss: of this rank's rows of the next batch, once a step; the sum over the ranks is what is made small.
        steps: of the optimiser.
        warm_up: fraction of them in which the learning rate rises; of one step alone it doesn't.
        share: of this rank.

    Returns:
        How the loss went, such as ``loss 3.249 -> 3.045``.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = one_cycle(optimizer, LEARNING_RATE, steps, warm_up)
    network.train()
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        _sum_gradients(network, share)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(share.sum(value.detach()).item())
    network.eval()
    return f"loss {np.mean(losses[:20]):.3f} -> {np.mean(losses[-100:]):.3f}"


def _sum_gradients(network: nn.Module, share: BatchShare) -> None:
    """In one exchange."""
    if share.world_size == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    total = share.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(total, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def targets(people: LabelledPeople, corrupted: CorruptedPoses, skeleton: Skeleton) -> tuple[Tensor, Tensor, Tensor]:
    """What people with drawn errors should be, relative to their drawn boxes.

    Returns:
        (M, K, 2) keypoints and (M, K) units, float32, and (M, K) whether a keypoint is labelled; one that isn't should
        stay where it is.
    """
    known = np.where(people.labelled[..., None], people.keypoints, corrupted.keypoints)
    units = people.units(skeleton.sigmas) / frame_of(corrupted.boxes)[1][..., 0]
    points = torch.from_numpy(to_box(known, corrupted.boxes))
    return points.float(), torch.from_numpy(units).float(), torch.from_numpy(people.labelled)
