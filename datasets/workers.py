"""Worker processes that make batches: none of them, and no batch, is lost unnoticed.

torch sends a worker's tensors from a thread of its own. Where that thread finds no room in /dev/shm (64 MB in Docker,
if nobody asks for more), it loses the batch, and the process that trains waits for it for ever. So a batch is packed
before it is sent, and where there is no room, it goes through the pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import multiprocessing.queues
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar, cast

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from datasets.sampler import SampleKey, TrainingBatches, ValidationBatches
from sia.errors import DataError, SiaError

B = TypeVar("B")

_ENDED = ("exited unexpectedly", "killed by signal", "No space left", "unable to allocate shared memory")
"""What torch says when a worker was ended from outside, or found no room in /dev/shm."""

PATIENCE = 1.0
"""Seconds in which a worker that is no longer needed ends by itself."""

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl.h

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


class Samples(Dataset["B | str | Parcel[B]"], Generic[B], ABC):
    """Makes whole batches, in a worker if there is one; an error becomes its message, which the main process raises."""

    def __getitem__(self, keys: Sequence[SampleKey]) -> B | str | Parcel[B]:
        try:
            batch = self.batch(keys)
        except SiaError as error:
            return str(error)
        return batch if get_worker_info() is None else Parcel(batch)

    @abstractmethod
    def batch(self, keys: Sequence[SampleKey]) -> B:
        """A batch.

        Raises:
            SiaError: an image or its labels can't be used.
        """


class BatchWorkers(Generic[B]):
    """Iterate it for batches in order. The workers stay from one pass to the next, until an error or `close`."""

    def __init__(
        self, samples: Samples[B], batches: TrainingBatches | ValidationBatches, workers: int, pin_memory: bool
    ) -> None:
        self.samples, self._batches, self._pin_memory = samples, batches, pin_memory
        self._cramped = False
        self._loader = self._make_loader(workers)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def processes(self) -> list[Any]:
        """The workers that run."""
        iterator = self._loader._iterator
        return [] if iterator is None else list(getattr(iterator, "_workers", ()))

    def __iter__(self) -> Iterator[B]:
        """Batches of one pass.

        Raises:
            DataError: an image can't be used, or a worker has ended.
        """
        try:
            with _watched_workers():
                stream = self._start()
            while True:
                with _watched_workers():
                    item = next(stream, None)
                if item is None:
                    return
                if isinstance(item, str):
                    raise DataError(item)
                yield self._opened(item) if isinstance(item, Parcel) else item
        except GeneratorExit:  # nobody wants the rest of this pass
            raise
        except RuntimeError as error:
            self.close()
            if not any(text in str(error) for text in _ENDED):
                raise
            raise DataError(
                "A data loader worker was ended from outside, most likely because memory or /dev/shm is full. "
                "Use fewer -WORKERS or a smaller -BS."
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the workers now. Left to the garbage collector, each can cost five seconds after an error.

        An error's traceback keeps the loader in a reference cycle. When Python collects one, it closes the queues
        before torch sends its farewell through them, and torch then waits for each worker until it gives up. It would
        also wait five seconds for each that hangs in reading a file.
        """
        iterator, workers, self._loader._iterator = self._loader._iterator, self.processes, None
        if not workers:
            return
        impatience = threading.Timer(PATIENCE, lambda: [worker.terminate() for worker in workers])
        impatience.start()
        try:
            iterator._shutdown_workers()  # type: ignore[union-attr]  # torch has no public way
        finally:
            impatience.cancel()

    def _make_loader(self, workers: int) -> DataLoader[Any]:
        """Batches are made whole in `Samples`, so the loader itself doesn't collate."""
        return DataLoader(
            self.samples,
            sampler=self._batches,  # yields lists of keys, one per batch
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._pin_memory,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # else each epoch draws from the global one, and a resumed run would differ
        )

    def _start(self) -> Iterator[Any]:
        """The loader's own iterator; this process does the work where it can't start others."""
        if not self._loader.num_workers or self.processes:
            return iter(self._loader)
        try:
            return iter(self._loader)
        except (OSError, RuntimeError, MemoryError) as error:
            failure = error
        finally:
            if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
                signal.signal(signal.SIGCHLD, _hear)
        _forget(failure)
        warn(f"Loader workers can't be started ({failure}), so this process loads by itself, which is slower.")
        self._loader = self._make_loader(0)
        return iter(self._loader)

    def _opened(self, parcel: Parcel[B]) -> B:
        if not parcel.shared and not self._cramped:
            self._cramped = True
            warn(
                f"/dev/shm is full ({room() >> 20} MB are left), so batches go through pipes, which is slower. Make it "
                "larger (docker run --shm-size=2g), or use fewer workers or a smaller batch."
            )
        return parcel.open()


def _forget(error: BaseException) -> None:
    """Drops what failed half-made, which torch can't take apart without complaints."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        error.__traceback__ = None
    finally:
        sys.unraisablehook = hook


_waiting = False


@contextlib.contextmanager
def _watched_workers() -> Iterator[None]:
    """In this block alone the end of a worker raises an error.

    torch raises it whenever it hears of one, so also in the midst of a step, where nothing can be saved any more; a
    SIGTERM to the whole group, as `timeout` sends it, ends the workers at once.
    """
    global _waiting
    _waiting = True
    try:
        torch._C._error_if_any_worker_fails()
        yield
    finally:
        _waiting = False


def _hear(number: int, frame: object) -> None:
    if _waiting:
        torch._C._error_if_any_worker_fails()


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def start_worker(_: int = 0) -> None:
    """What each worker process does first.

    It computes in one thread, leaves Ctrl-C to the main process, which saves and then ends the workers, and ends with
    it: one that lives on holds the main process's connections open, and its peers would wait for a dead process. A
    batch that can't be sent ends it too, for nobody would ever hear of that batch.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)

    def end(error: Exception, _: object) -> None:
        traceback.print_exception(error)
        os._exit(1)

    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]
