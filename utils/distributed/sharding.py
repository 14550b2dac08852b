"""-PARALLEL fsdp: weights, gradients and the optimiser's memory are shared out over the processes (FSDP2).

Zhao et al., PyTorch FSDP, 2023. Checkpoints hold whole tensors, as without it. A part is a DTensor; it is told by its
methods, for to import the class takes seconds, which a training without parts is spared.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.distributed.context import DistributedContext
from utils.ema import ExponentialMovingAverage


def shard(model: nn.Module, blocks: Iterable[nn.Module], decay: float, ranks: DistributedContext) -> ShardedAverage:
    """Leaves each process its part of every parameter; those of a block are together only while it computes.

    Args:
        model: whole, on its device, and the same on all ranks.
        blocks: of its backbone.
        decay: of the average that is returned.
        ranks: this process among its peers.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # The model's output is read, never changed in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    average = ShardedAverage(model, decay)
    mesh = init_device_mesh(ranks.device.torch.type, (ranks.world_size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    average.scatter(model)
    return average


def whole(value: Any) -> Any:
    """The value with whole tensors, on the CPU, in the place of parts; all ranks must call it."""
    if hasattr(value, "full_tensor"):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(entry) for key, entry in value.items()}
    return [whole(entry) for entry in value] if isinstance(value, list) else value


def part_like(tensor: Tensor, own: Tensor) -> Tensor:
    """This process's part of a whole tensor, as `own` is one; all ranks must call it with the same."""
    part: Any = own
    if not hasattr(part, "placements") or part.shape != tensor.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(part.device), part.device_mesh, part.placements, src_data_rank=None)


def share_out(optimizer: Optimizer) -> None:
    """Parts in the place of the whole tensors that `load_state_dict` has given to an optimiser of parts."""
    for one in getattr(optimizer, "parts", (optimizer,)):
        for parameter, entries in one.state.items():
            one.state[parameter] = {name: part_like(value, parameter) for name, value in entries.items()}


class ShardedAverage(ExponentialMovingAverage):
    """An average of parts. `module` is a whole model, up to date after `gather`: to evaluate and to save it."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """From a model that is not sharded yet."""
        nn.Module.__init__(self)
        self.module = copy.deepcopy(model)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))
        self._parts: list[Tensor] = []

    def scatter(self, model: nn.Module) -> None:
        """Takes the parts from `module`, as those of a sharded model; all ranks must call it."""
        pairs = zip(self.module.parameters(), model.parameters(), strict=True)
        self._parts = [part_like(mine.detach().clone(), own) for mine, own in pairs]

    @torch.no_grad()
    def gather(self) -> None:
        """Makes `module` whole; all ranks must call it."""
        for mine, part in zip(self.module.parameters(), self._parts, strict=True):
            mine.copy_(whole(part))

    def separate(self, model: nn.Module) -> None:
        """Nothing is shared."""

    def _pairs(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        return [(_local(part), _local(new)) for part, new in zip(self._parts, model.parameters(), strict=True)]


def _local(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
