"""Memory of a training: what is kept for the gradient, and what the C library keeps between the steps."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_TRIM_THRESHOLD, _MAPPED_AT_MOST = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Lets freed memory stay with the process, whatever the size of the block.

    Unless told otherwise, glibc asks the kernel for every block above 32 MB and gives it back when it is freed. A
    training frees and asks for the same blocks at every step, and the kernel fills each page with zeros again before
    it hands it out: at 512 px that is a third of a step (``benchmarks/train_step.py --give_back``).

    Returns:
        Whether the C library took the request; other libraries than glibc don't know it, and nothing changes.
    """
    if sys.platform != "linux":
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and bool(tell(_MAPPED_AT_MOST, 0)) and bool(tell(_TRIM_THRESHOLD, -1))


@contextlib.contextmanager
def keeping(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage of what autograd keeps for the gradient, parameters aside."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is freed could lend its number to another

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept
