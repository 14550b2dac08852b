"""Processes that import the product once and read many inputs; one that hangs, dies or swells is ended and replaced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from benchmarks.fuzzing.inputs import HANG, MEMORY, TRACEBACK, Kind, Outcome, read_good, read_input, write_input

MOST_BYTES = 2 << 30
"""Of memory in use while an input is read."""
POLL = 0.1
PATIENCE = 10
"""A process may wait so many times as long as it may compute: the machine may have other work."""
READY, WARM = "ready", "warm"


class Task(NamedTuple):
    """One input: its kind and its number."""

    kind: str
    number: int


class Result(NamedTuple):
    """What became of a task, and the folder with the input, which the next one replaces."""

    task: Task
    outcome: Outcome
    folder: Path


@dataclass
class Worker:
    """A process, and what it works on."""

    process: BaseProcess
    pipe: Connection
    folder: Path
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    used: float = 0.0  # seconds of the processor before the task

    def begin(self) -> None:
        """Starts the clocks of a task."""
        self.since, self.used = time.monotonic(), _computed(self.process.pid)

    def is_late(self, limit: float) -> bool:
        """Whether the task has computed or waited too long."""
        return _computed(self.process.pid) - self.used > limit or time.monotonic() - self.since > PATIENCE * limit


def run(tasks: Sequence[Task], seed: int, seeds: Path, folder: Path, workers: int, limit: float) -> Iterator[Result]:
    """Yields the results as they come.

    Args:
        tasks: to do, in this order.
        seed: of all inputs.
        seeds: folder with one folder of good files a kind.
        folder: for the inputs.
        workers: how many processes.
        limit: seconds of the processor that one input may take.
    """
    left = list(reversed(tasks))
    pool = [_start(seed, seeds, folder / f"worker-{number}") for number in range(min(workers, len(tasks)))]
    try:
        while pool:
            ready = wait([worker.pipe for worker in pool], POLL)
            for worker in list(pool):
                result = _listen(worker, worker.pipe in ready, limit)
                if result is not None:
                    yield result
                if result is not None and not worker.process.is_alive():
                    pool.remove(worker)
                    pool += [_start(seed, seeds, worker.folder)] if left else []
                elif worker.task is None and worker.pipe in ready:
                    _next(worker, left, pool)
    finally:
        for worker in pool:
            worker.process.kill()


def _next(worker: Worker, left: list[Task], pool: list[Worker]) -> None:
    """Gives a free worker its next task, or lets it go."""
    if left:
        worker.task = left.pop()
        worker.begin()
    else:
        pool.remove(worker)
    worker.pipe.send(worker.task)


def _listen(worker: Worker, ready: bool, limit: float) -> Result | None:
    """The result of a worker's task, if there is one by now; a worker in trouble is killed."""
    task, outcome = worker.task, None
    if ready:
        try:
            answer = worker.pipe.recv()
            outcome = None if answer in (READY, WARM) else answer
            if answer == WARM:
                worker.begin()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            outcome = Outcome(TRACEBACK, f"the process died: {_end(worker.process.exitcode)}")
    elif task is not None and worker.is_late(limit):
        outcome = Outcome(HANG, f"took longer than {limit:g} s", limit)
        _kill(worker)
    elif task is not None and _resident(worker.process.pid) > MOST_BYTES:
        outcome = Outcome(MEMORY, f"took more than {MOST_BYTES:,} bytes", time.monotonic() - worker.since)
        _kill(worker)
    if outcome is None:
        return None
    if task is None:
        raise RuntimeError(f"a worker ended before its first input: {outcome.message}")
    worker.task = None
    return Result(task, outcome, worker.folder)


def _kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.join()


def _end(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process has in use; 0 where the system doesn't tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _computed(pid: int | None) -> float:
    """Seconds of the processor that a process has used, all threads together; 0 where the system doesn't tell."""
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _start(seed: int, seeds: Path, folder: Path) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, seed, seeds, folder), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours, folder)


def _work(pipe: Connection, seed: int, seeds: Path, folder: Path) -> None:
    """The life of a worker."""
    from benchmarks.fuzzing.kinds import KINDS

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)  # decoders written in C speak there
    kinds, warm = {kind.name: kind for kind in KINDS}, set[str]()
    pipe.send(READY)
    while (task := pipe.recv()) is not None:
        kind = kinds[task.kind]
        try:
            if kind.name not in warm:  # imports take seconds, which are no input's
                read_good(kind, seeds / kind.name, folder)
                warm.add(kind.name)
                pipe.send(WARM)
            outcome = _outcome(kind, task.number, seed, seeds, folder)
        except Exception as error:
            outcome = Outcome(TRACEBACK, f"a fault of the fuzzing itself: {type(error).__name__}: {error}")
        pipe.send(outcome)


def _outcome(kind: Kind, number: int, seed: int, seeds: Path, folder: Path) -> Outcome:
    path = write_input(kind, number, seed, seeds / kind.name, folder)
    _forget_peak()
    outcome = read_input(kind, path)
    peak = _peak()
    if peak > MOST_BYTES and outcome.verdict != TRACEBACK:
        return Outcome(MEMORY, f"{peak:,} bytes; {outcome.message}", outcome.seconds)
    return outcome


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system than Linux, or not allowed: only what the parent sees counts
        return


def _peak() -> int:
    """The most bytes in use since `_forget_peak`; 0 where the system doesn't tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
