"""One input: made from a good file by the numbers that its seed decides, read, and what became of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.fuzzing.mutations import Mutation
from sia.errors import SiaError

OK, REFUSED, TRACEBACK, HANG, MEMORY = "ok", "refused", "traceback", "hang", "memory"
SHARED = "shared"
"""Folder among the good files that all inputs read and none changes."""
FAILURES = (TRACEBACK, HANG, MEMORY)


@dataclass(frozen=True)
class Kind:
    """A kind of file that the product reads.

    Attributes:
        name: for the command line.
        make: writes good files into a folder and returns those to change.
        mutate: changes one, by the suffix of its name.
        read: reads a changed one through the product's own code; it lies among copies of the files beside it.
        needs: packages without which it is left out.
    """

    name: str
    make: Callable[[Path], Sequence[Path]]
    mutate: Callable[[str], Mutation]
    read: Callable[[Path], object]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        verdict: `OK`, `REFUSED` by one line of a SiaError, or one of `FAILURES`.
        message: of the error, with its last frame where it is none for users.
        seconds: it took.
    """

    verdict: str
    message: str = ""
    seconds: float = 0.0


def write_input(kind: Kind, number: int, seed: int, seeds: Path, folder: Path) -> Path:
    """Copies what belongs to a good file, changes it, and returns its path; the same numbers give the same file.

    Args:
        kind: of file.
        number: of the input, from 0.
        seed: of the run.
        seeds: folder that `Kind.make` has filled; ``seeds.txt`` in it lists the files to change.
        folder: for the input; what was in it goes.
    """
    rng = Random(f"{seed} {kind.name} {number}")
    names = _names(seeds)
    path = _copied(seeds, folder) / names[number % len(names)]
    path.write_bytes(kind.mutate(path.suffix)(path.read_bytes(), rng))
    return path


def read_good(kind: Kind, seeds: Path, folder: Path) -> None:
    """Reads the good files as they are.

    Raises:
        RuntimeError: one of them is refused: then nothing that is changed in it would tell anything.
    """
    for name in _names(seeds):
        outcome = read_input(kind, _copied(seeds, folder) / name)
        if outcome.verdict != OK:
            raise RuntimeError(f"the good file {name} of {kind.name}: {outcome.message}")


def _names(seeds: Path) -> list[str]:
    return (seeds / "seeds.txt").read_text(encoding="utf-8").splitlines()


def _copied(seeds: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seeds, folder, ignore=lambda _, found: [entry for entry in found if entry == SHARED])
    if (seeds / SHARED).exists():
        (folder / SHARED).symlink_to((seeds / SHARED).absolute())
    return folder


def prepare(kind: Kind, seeds: Path) -> None:
    """Makes the good files of a kind, unless they are there."""
    if (seeds / "seeds.txt").is_file():
        return
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    names = [path.relative_to(seeds).as_posix() for path in kind.make(seeds)]
    (seeds / "seeds.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def read_input(kind: Kind, path: Path) -> Outcome:
    """Reads an input, in silence."""
    begun = time.monotonic()
    try:
        with warnings.catch_warnings(), _silence():
            warnings.simplefilter("ignore")
            kind.read(path)
        verdict, message = OK, ""
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


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as sink, contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield
