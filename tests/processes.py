"""Processes of their own for tests, forked from a server that has imported torch but computed nothing.

A fork of the test process itself would inherit the locks, but not the threads, of every library used before it, and
could hang or crash; a new interpreter would import torch again, which takes longer than most of what is tested.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.reduction import DupFd
from typing import Any

import cv2
import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "stages.training.train",
        "stages.pipeline.runner",
        "sia.runtimes.predictor",
        "stages.evaluator",
        "torch.nn.parallel",
        "torch.distributed.fsdp",
        "scipy.optimize",
    ]
)


class Console:
    """This process's standard output and error, which a process that it is sent to takes for its own."""

    def __reduce__(self) -> tuple[Callable[..., Console], tuple[Any, ...]]:
        return _attach, (DupFd(1), DupFd(2))


def _attach(*streams: Any) -> Console:
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.detach(), number)
    return Console()


def run(body: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Starts `body(*arguments)`, whose value is the exit status; killed when the tests end, if it still runs then."""
    process = CONTEXT.Process(target=_run, args=(Console(), body, arguments))
    process.start()
    atexit.register(process.kill)
    return process


def _run(console: Console, body: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    sys.exit(body(*arguments))


def start(world: int, body: Callable[..., Any], *arguments: Any) -> list[BaseProcess]:
    """Starts `body(rank, *arguments)` in each of torchrun's processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [run(_member, rank, world, port, body, arguments) for rank in range(world)]


def _member(rank: int, world: int, port: int, body: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    places = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="127.0.0.1")
    return body(rank, *arguments)


def finish(processes: list[BaseProcess], seconds: float = 120) -> list[int | None]:
    """The exit statuses, in order; whoever is not done in time is killed."""
    for process in processes:
        process.join(timeout=seconds)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses


def together(world: int, body: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `body(rank, *arguments)` returns in each of torchrun's processes."""
    answers: Queue[tuple[int, Any]] = CONTEXT.Queue()
    processes = start(world, _answer, answers, body, arguments)
    with contextlib.ExitStack() as stack:
        stack.callback(finish, processes, 20)
        collected = dict(answers.get(timeout=120) for _ in processes)
    assert [process.exitcode for process in processes] == [0] * world
    return [collected[rank] for rank in range(world)]


def _answer(rank: int, answers: Queue[tuple[int, Any]], body: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    answers.put((rank, body(rank, *arguments)))
