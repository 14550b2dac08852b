"""One input: made from a good file by its seed, read in a process of its own, and what became of it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.fuzzing.mutations import Mutation
from sia.errors import SiaError

OK, REFUSED, TRACEBACK, HANG, MEMORY = "ok", "refused", "traceback", "hang", "memory"
FAILURES = (TRACEBACK, HANG, MEMORY)
MOST_BYTES = 2 << 30
"""Of memory in use while an input is read."""
PATIENCE = 10
"""A process may wait so many times as long as it may compute: the machine may have other work."""
SHARED = "shared"
"""Folder among the good files that all inputs read and none changes."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that the product reads.

    Attributes:
        make: writes good files into a folder and returns those to change.
        read: reads a changed one through the product's own code; it lies among copies of the files beside it.
        weight: how many inputs, relative to the other kinds.
        needs: packages without which it is left out.
    """

    make: Callable[[Path], Sequence[Path]]
    read: Callable[[Path], object]
    weight: int = 10
    needs: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """`OK`, `REFUSED` by one line of a SiaError, or one of `FAILURES`; the error's message; seconds that it took."""

    verdict: str
    message: str = ""
    seconds: float = 0.0


def prepare(kind: Kind, seeds: Path) -> None:
    """Makes the good files of a kind, unless they are there."""
    if (seeds / "seeds.txt").is_file():
        return
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    names = [path.relative_to(seeds).as_posix() for path in kind.make(seeds)]
    (seeds / "seeds.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def write_input(mutate: Callable[[str], Mutation] | None, number: int, seed: str, seeds: Path, folder: Path) -> Path:
    """Copies what belongs to a good file, changes it, and returns its path; the same numbers give the same file."""
    names = (seeds / "seeds.txt").read_text(encoding="utf-8").splitlines()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seeds, folder, ignore=lambda _, found: [entry for entry in found if entry == SHARED])
    if (seeds / SHARED).exists():
        (folder / SHARED).symlink_to((seeds / SHARED).absolute())
    path = folder / names[number % len(names)]
    if mutate is not None:
        path.write_bytes(mutate(path.suffix)(path.read_bytes(), Random(f"{seed} {number}")))
    return path


def read_good(kind: Kind, seeds: Path, folder: Path) -> None:
    """Reads the good files as they are, which also loads all that reading needs.

    Raises:
        RuntimeError: one of them is refused: then nothing that is changed in it would tell anything.
    """
    for number, name in enumerate((seeds / "seeds.txt").read_text(encoding="utf-8").splitlines()):
        outcome = read_input(kind, write_input(None, number, "", seeds, folder))
        if outcome.verdict != OK:
            raise RuntimeError(f"the good file {name}: {outcome.message}")


def read_input(kind: Kind, path: Path) -> Outcome:
    """Reads an input, in silence."""
    begun, verdict, message = time.monotonic(), OK, ""
    with warnings.catch_warnings(), Path(os.devnull).open("w") as sink:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            try:
                kind.read(path)
            except SiaError as error:
                verdict, message = REFUSED, str(error)
                if "\n" in message:
                    verdict, message = TRACEBACK, f"a message of several lines: {message}"
            except BaseException as error:  # whatever it is: that is what is looked for
                frames = traceback.extract_tb(error.__traceback__)
                own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
                place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
                verdict, message = TRACEBACK, f"{type(error).__name__} at {place}: {error}"
    return Outcome(verdict, message[:2000].encode(errors="replace").decode(), time.monotonic() - begun)


def read_apart(kind: Kind, path: Path, limit: float) -> Outcome:
    """`read_input` in a copy of this process, which is ended when it computes, waits or takes too much.

    Args:
        kind: of the file.
        path: of the file.
        limit: seconds of the processor.
    """
    path, begun = path.resolve(), time.monotonic()
    answer = path.parent / "outcome.json"
    child = os.fork()
    if child == 0:
        _work(kind, path, answer, limit)
    done, status, usage = os.wait4(child, os.WNOHANG)
    while not done:
        time.sleep(0.005)
        if _resident(child) > MOST_BYTES or time.monotonic() - begun > PATIENCE * limit:
            os.kill(child, signal.SIGKILL)
        done, status, usage = os.wait4(child, os.WNOHANG)
    seconds, ended = time.monotonic() - begun, os.waitstatus_to_exitcode(status)
    if usage.ru_maxrss * 1024 > MOST_BYTES:
        return Outcome(MEMORY, f"took {usage.ru_maxrss:,} KiB", seconds)
    if ended == -signal.SIGXCPU or seconds > PATIENCE * limit:
        return Outcome(HANG, f"took longer than {limit:g} s", seconds)
    if ended:
        return Outcome(TRACEBACK, f"the process died: {signal.Signals(-ended).name if ended < 0 else ended}", seconds)
    content: list[Any] = json.loads(answer.read_text())
    return Outcome(*content)


def _work(kind: Kind, path: Path, answer: Path, limit: float) -> None:
    """The life of a copy."""
    status = 1
    try:
        os.chdir(path.parent)  # what is written to an odd relative name stays here
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C speak there
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 9))  # SIGXCPU, later SIGKILL
        answer.write_text(json.dumps(read_input(kind, path)))
        status = 0
    finally:
        os._exit(status)


def _resident(pid: int) -> int:
    """Bytes of memory that a process has in use; 0 where the system doesn't tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
