"""Loader workers: full shared memory, lost batches, workers that end or can't be started, and signals meanwhile."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import workers
from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from datasets.workers import Parcel
from sia.commands.signals import Interrupted, SignalHandler
from sia.errors import DataError
from tests.datasets.test_loader import assert_equal

Make = Callable[..., CocoPose]
OPTIONS: dict[str, Any] = {"image_size": (48, 64), "batch_size": 1}


@pytest.fixture
def dataset(make_dataset: Make, make_content: Callable[..., Any]) -> CocoPose:
    return make_dataset(make_content(6))


def refused(*_: object) -> None:
    """What torch says without room in /dev/shm."""
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")


@pytest.mark.parametrize("room", ["enough", "little", "none"])
def test_batches_are_the_same_whatever_room_there_is(
    dataset: CocoPose, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], room: str
) -> None:
    expected = list(validation_loader(dataset, **OPTIONS, workers=0))
    monkeypatch.setattr(workers, "SHARED", 1)
    if room == "little":
        monkeypatch.setattr(workers, "room", lambda: workers.SPARE - 1)
    if room == "none":
        monkeypatch.setattr(Tensor, "share_memory_", refused)
    loader = validation_loader(dataset, **OPTIONS, workers=2)
    found = list(loader)
    assert_equal(found, expected)
    assert found[0].images.is_shared() == (room == "enough")
    for batch in found:
        batch.images += 1  # as the loader of unlabelled images does
    shown = capfd.readouterr().err
    assert shown.count("so batches go through pipes, which is slower") == (room != "enough")
    assert "Traceback" not in shown
    loader.close()


def test_a_batch_that_can_not_be_sent_is_one_clear_error(dataset: CocoPose, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would lose it, and wait for ever."""

    def unsendable(self: Parcel[Any]) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Parcel, "__reduce__", unsendable)
    with pytest.raises(DataError, match=r"worker was ended from outside.*Use fewer -WORKERS"):
        list(validation_loader(dataset, **OPTIONS, workers=1))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_without_workers_the_process_loads_by_itself(
    dataset: CocoPose, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No locks in a full /dev/shm, or no more processes."""

    def no_lock(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    expected = list(validation_loader(dataset, **OPTIONS, workers=0))
    monkeypatch.setattr(multiprocessing.context.BaseContext, "Event", no_lock)
    monkeypatch.setattr(torch.multiprocessing, "Event", no_lock)
    assert_equal(validation_loader(dataset, **OPTIONS, workers=2), expected)
    assert "can't be started ([Errno 28] No space left on device)" in capfd.readouterr().err


def test_a_worker_that_ends_in_a_step_is_an_error_of_the_next_wait(dataset: CocoPose) -> None:
    """The step itself goes on: what torch raises in the midst of it can't be saved."""
    loader = validation_loader(dataset, **OPTIONS, workers=1)
    stream = iter(loader)
    next(stream)
    (worker,) = loader.processes
    worker.kill()
    worker.join(10)
    time.sleep(0.1)  # torch would raise here
    with pytest.raises(DataError, match="worker was ended from outside"):
        list(stream)


class Slow(CocoPose):
    """Images that never come."""

    def read_image(self, index: int, shrink: int = 1) -> Any:
        time.sleep(60)
        return np.zeros((1, 1, 3), np.uint8)


@pytest.fixture
def waiting(dataset: CocoPose) -> Iterator[Iterator[Any]]:
    loader = validation_loader(Slow(dataset.root, dataset.annotation_file), **OPTIONS, workers=1)
    yield iter(loader)
    assert loader.processes == []  # ended, though they hang


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait(waiting: Iterator[Any], number: int) -> None:
    with SignalHandler() as interruption, pytest.raises(Interrupted) as caught, interruption.at_once():
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        next(waiting)
    assert caught.value.number == interruption.signal == number


class Swallowing:
    """A destructor can't raise."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)


def test_a_signal_that_is_swallowed_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    with SignalHandler() as interruption, pytest.raises(Interrupted), interruption.at_once():
        Swallowing()
        time.sleep(20)
    assert time.monotonic() - begin < 10
    assert "Exception ignored" not in capfd.readouterr().err


def test_an_error_beside_a_signal_is_its_consequence() -> None:
    with SignalHandler() as interruption:
        with pytest.raises(DataError), interruption.at_once():
            raise DataError("a worker was ended")
        os.kill(os.getpid(), signal.SIGTERM)  # caught: nothing waits
        with pytest.raises(Interrupted), interruption.at_once():
            raise AssertionError("a signal that has come already is obeyed first")
