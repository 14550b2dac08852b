"""One process or many: torchrun's environment, the process group, and the few exchanges that training needs."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sia.errors import ConfigError, SiaError, TrainingError
from sia.runtimes.device import Device, choose_device
from utils.distributed.meeting import agent_store, meet

TIMEOUT = timedelta(minutes=30)
"""How long one process waits for the others; evaluation on one of them must fit in."""


@dataclass
class DistributedContext:
    """This process among its peers. A context manager: leaving it destroys the process group.

    Attributes:
        rank, world_size: this process's number among all of them.
        local_world_size: how many run on this machine.
        device: where this process computes.
        is_guest: whether the process group is of somebody else, who destroys it.
    """

    rank: int
    world_size: int
    local_world_size: int
    device: Device
    is_guest: bool = False

    def __enter__(self) -> DistributedContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world_size > 1 and _is_of_a_lost_peer(value):  # whose group would not end in order any more
            raise TrainingError(
                "Another process of this job has ended, so this one ends too. What that one said last, or torchrun's "
                "report, is the reason."
            ) from value
        if dist.is_initialized() and not self.is_guest:
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """The sums over all processes, equal on each."""
        if self.world_size == 1:
            return [float(value) for value in values]
        kind = torch.float32 if self.device.torch.type == "mps" else torch.float64
        tensor = torch.tensor(values, dtype=kind, device=self.device.torch)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def any(self, value: bool) -> bool:
        """Whether it is true on any process."""
        return self.sum(float(value))[0] > 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks, on each."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: Any) -> Any:
        """Rank 0's value, on each process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device.torch)
        return box[0]

    @contextlib.contextmanager
    def shared_errors(self) -> Iterator[None]:
        """An error of one rank in this block is raised on all at its end, so that none waits for another in vain.

        All ranks must pass through it, and must not exchange anything inside.
        """
        error: SiaError | None = None
        try:
            yield
        except SiaError as problem:
            error = problem
        errors = [problem for problem in self.gather(error) if problem is not None]
        if errors:
            raise errors[0]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by their means over all processes, in one exchange."""
        parts = list(tensors)
        if self.world_size == 1 or not parts:
            return
        flat = torch.cat([part.detach().flatten().float() for part in parts])
        dist.all_reduce(flat)
        flat /= self.world_size
        with torch.no_grad():
            for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
                part.copy_(mean.view_as(part))


def _is_of_a_lost_peer(error: BaseException | None) -> bool:
    """Whether an exchange failed because a process that takes part is gone: gloo has no error class of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The buffers of batch normalisation that each process estimates on its own part of the batch."""
    return [buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))]


def wrap(model: nn.Module, ranks: DistributedContext) -> nn.Module:
    """The model as it is called in training; to be wrapped anew when other parameters are trained.

    Parameters without gradient take no part in the exchange, so none is ever waited for in vain.
    """
    if ranks.world_size == 1 or hasattr(model, "unshard"):  # FSDP2 has changed the model itself
        return model
    gc.collect()  # an earlier wrap takes its hooks off the parameters when it goes
    # Said of kernels of 1x1, whose last strides mean nothing.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    ids = [ranks.device.torch.index] if ranks.device.torch.type == "cuda" else None
    # Buffers are averaged after each step instead of copied from rank 0, which would waste the others' statistics.
    # torch 2.13 or so renamed the option and warns about the old name.
    names = inspect.signature(DistributedDataParallel).parameters
    option: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True, **option)


@contextlib.contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Batch normalisation still normalises by the batch here, but its running statistics don't learn from it."""
    layers = [(layer, layer.momentum) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer, _ in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in layers:
            layer.momentum = momentum


def init_distributed(wanted_device: str, timeout: timedelta = TIMEOUT) -> DistributedContext:
    """Joins the process group that torchrun describes in the environment; alone without it.

    Args:
        wanted_device: see `choose_device`.
        timeout: how long one process waits for the others; of a group that there is already, that stays as it is.

    Raises:
        ConfigError: the device can't be used, or this machine has fewer GPUs than processes.
    """
    rank, world_size = _environment("RANK", 0), _environment("WORLD_SIZE", 1)
    local_rank, local_world_size = _environment("LOCAL_RANK", 0), _environment("LOCAL_WORLD_SIZE", 1)
    device = _choose(wanted_device)
    if device.torch.type == "cuda":
        if device.torch.index is not None and world_size > 1:
            raise ConfigError(
                f"-DEVICE {wanted_device} names one GPU, but there are {world_size} processes. Use -DEVICE cuda, which "
                "gives each process its own, and CUDA_VISIBLE_DEVICES to choose among them."
            )
        device = _own_gpu(device, local_rank)
    elif device.torch.type == "mps" and world_size > 1:
        raise ConfigError(
            f"-DEVICE mps works with one process, not {world_size}. Use -DEVICE cpu or start one process."
        )
    is_guest = dist.is_initialized()
    if world_size > 1 and not is_guest:
        cuda = device.torch.type == "cuda"
        options: dict[str, Any] = {"device_id": device.torch} if cuda else {}
        lent = agent_store(TIMEOUT)
        if lent is not None:
            options |= {"store": meet(lent, rank, world_size, TIMEOUT), "rank": rank, "world_size": world_size}
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timeout, **options)
    return DistributedContext(rank, world_size, local_world_size, device, is_guest)


def _environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"The environment variable {name} is '{text}', which is no number. torchrun sets it.")
    return int(text)


def _choose(wanted: str) -> Device:
    try:
        device = choose_device(wanted)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--device", "-DEVICE")) from error
    texts = {name: getattr(device, name).replace("--device", "-DEVICE") for name in ("reason", "warning")}
    return replace(device, **texts)


def _own_gpu(device: Device, local_rank: int) -> Device:
    if device.torch.index is not None:
        return device
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"This machine has {count} usable GPU{'s' if count != 1 else ''}, but process {local_rank + 1} on it wants "
            f"one. Start torchrun with --nproc_per_node={count}, or use -DEVICE cpu."
        )
    torch.cuda.set_device(local_rank)
    return replace(device, name=f"cuda:{local_rank}")
