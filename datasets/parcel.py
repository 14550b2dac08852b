"""A batch on its way from a loader worker to the process that trains.

torch sends a worker's tensors from a thread of its own. Where that thread finds no room in /dev/shm (64 MB in Docker,
if nobody asks for more), it loses the batch, and the process that trains waits for it for ever. So a batch is packed
before it is sent, and where there is no room, it goes through the pipe.
"""

from __future__ import annotations

import io
import pickle
import shutil
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

B = TypeVar("B")

SHARED = 1 << 20
"""Bytes from which on a tensor goes through shared memory: below, a pipe is as fast."""

SPARE = 4 << 20
"""Bytes of /dev/shm that are left to others: locks lie there too."""


class Parcel(Generic[B]):
    """A packed batch: a dataclass of tensors and plain values.

    Attributes:
        shared: whether there was room in shared memory for what belongs there.
    """

    def __init__(self, batch: B) -> None:
        """Packs a batch; its large tensors move to shared memory if there is room."""
        self.shared = _share(batch)
        stream = io.BytesIO()
        _Pickler(stream, self.shared).dump(batch)
        self._content = stream.getvalue()
        self._batch: B | None = None

    def open(self) -> B:
        """The batch; its tensors can be written to.

        Raises:
            RuntimeError: the worker that made it has ended, and with it what it shared.
        """
        if self._batch is None:
            try:
                self._batch = cast(B, pickle.loads(self._content))
            except (OSError, EOFError) as error:
                raise RuntimeError(f"a worker exited unexpectedly ({error})") from error
            self._content = b""
        return self._batch

    def pin_memory(self) -> Parcel[B]:
        """Called by torch's loader, in a thread of the process that trains."""
        self._batch = cast(Any, self.open()).pin_memory()
        return self


class _Pickler(ForkingPickler):
    """Sends handles of shared tensors, and the content of all others."""

    def __init__(self, stream: io.BytesIO, shared: bool) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._shared = shared

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and not (self._shared and value.is_shared()):  # type: ignore[no-untyped-call]
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _share(batch: object) -> bool:
    """Moves large tensors to shared memory; False where it is full, and they have to be copied."""
    for tensor in vars(batch).values():
        if not isinstance(tensor, Tensor) or tensor.nbytes < SHARED:
            continue
        try:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError):
            return False
        if room() < SPARE:
            return False
    return True


def room() -> int:
    """Free bytes of /dev/shm; more than anybody needs where a system has none."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 1 << 62
