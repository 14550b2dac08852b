"""Reads thousands of damaged files of every kind: no traceback, no hang, no more than 2 GB of memory.

python benchmarks/fuzz.py                                       10,000 inputs, half an hour on two cores
python benchmarks/fuzz.py --kinds weights images --inputs 500
python benchmarks/fuzz.py --only weights:17                     one input in this process, with its traceback

Each input is a good file, made by the project itself, with changes that the seed decides. Those that fail are kept in
``--output``, and failures.txt there says how to make each again. Ends with status 1 if any failed. Linux and macOS.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process for each core is faster than threads

from benchmarks.common import launch, machine, table
from benchmarks.fuzzing.reader import (
    FAILURES,
    HANG,
    MEMORY,
    OK,
    REFUSED,
    TRACEBACK,
    Kind,
    Outcome,
    prepare,
    read_apart,
    read_good,
    write_input,
)
from sia.errors import ConfigError

NAMES = (
    "annotations", "results", "importers", "configs", "videos", "images", "exports", "arrays", "checkpoints", "weights",
    "manifests",
)  # fmt: skip
COLUMNS = (OK, REFUSED, TRACEBACK, HANG, MEMORY)
warm: set[str] = set()
"""The kinds whose good files this process has read: imports take seconds, which are no input's."""


class Task(NamedTuple):
    """One input: its kind, number, the run's seed, the folder of everything, and the seconds that it may compute."""

    kind: str
    number: int
    seed: int
    output: Path
    limit: float


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--inputs", type=int, default=10_000, help="how many, over all kinds (default: 10000)")
    add("--kinds", nargs="+", choices=NAMES, default=NAMES, metavar="KIND", help=", ".join(NAMES))
    add("--seed", type=int, default=0, help="of all changes (default: 0)")
    add("--limit", type=float, default=30.0, help="CPU seconds that an input may take (default: 30)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    add("--output", type=Path, default=Path("runs/fuzz"), help="folder of files and failures (default: runs/fuzz)")
    add("--only", metavar="KIND:NUMBER", help="read one input in this process, and show what it raises")


def available(names: Sequence[str]) -> dict[str, Kind]:
    """The kinds whose packages are there; the others are named."""
    from benchmarks.fuzzing.kinds import KINDS

    missing = {name: [p for p in KINDS[name].needs if importlib.util.find_spec(p) is None] for name in names}
    for name, packages in missing.items():
        if packages:
            print(f"{name} are left out: pip install {' '.join(packages)}")
    return {name: KINDS[name] for name in names if not missing[name]}


def tasks_of(kinds: Mapping[str, Kind], args: argparse.Namespace) -> list[Task]:
    """All inputs; each kind has its part of every hundred."""
    names = [name for name, kind in kinds.items() for _ in range(kind.weight)]
    return [Task(names[n % len(names)], n, args.seed, args.output, args.limit) for n in range(args.inputs)]


def make_input(task: Task, folder: Path) -> Path:
    """Writes the input of a task."""
    from benchmarks.fuzzing.kinds import mutation_of

    return write_input(mutation_of, task.number, f"{task.seed} {task.kind}", task.output / "good" / task.kind, folder)


def work(task: Task) -> tuple[Task, Outcome]:
    """One input in a worker; what fails is kept, with how to make it again."""
    from benchmarks.fuzzing.kinds import KINDS

    kind, folder = KINDS[task.kind], task.output / "inputs" / str(os.getpid())
    if task.kind not in warm:
        read_good(kind, task.output / "good" / task.kind, folder)
        warm.add(task.kind)
    outcome = read_apart(kind, make_input(task, folder), task.limit)
    if outcome.verdict in FAILURES:
        shutil.copytree(folder, task.output / "failures" / f"{task.kind}-{task.number}", symlinks=True)
        with (task.output / "failures.txt").open("a", encoding="utf-8") as stream:
            again = f"python benchmarks/fuzz.py --seed {task.seed} --only {task.kind}:{task.number}"
            stream.write(f"{outcome.verdict}  {again}\n    {' '.join(outcome.message.split())[:500]}\n")
    return task, outcome


def results(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Outcome]]:
    """What became of the tasks, as they end."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(work, tasks)


def fuzz(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status."""
    kinds = available(args.kinds)
    shutil.rmtree(args.output / "failures", ignore_errors=True)
    (args.output / "failures.txt").unlink(missing_ok=True)
    for name, kind in kinds.items():
        print(f"good files: {name}", flush=True)
        prepare(kind, args.output / "good" / name)
    tasks = tasks_of(kinds, args)
    counts, seconds = {name: Counter[str]() for name in kinds}, defaultdict[str, float](float)
    for number, (task, outcome) in enumerate(results(tasks, args.workers), 1):
        counts[task.kind][outcome.verdict] += 1
        seconds[task.kind] += outcome.seconds
        if outcome.verdict in FAILURES:
            print(f"{task.kind}:{task.number} {outcome.verdict}: {outcome.message[:200]}", flush=True)
        if number % 500 == 0:
            print(f"{number} of {len(tasks)} inputs", flush=True)
    rows = [[name, *(count[v] for v in COLUMNS), round(seconds[name])] for name, count in counts.items()]
    failed = sum(count[verdict] for count in counts.values() for verdict in FAILURES)
    print(table(["kind", "ok", "refused", "tracebacks", "hangs", "over 2 GB", "seconds"], rows))
    print(f"{failed} of {len(tasks)} inputs failed. Kept in {args.output}. {machine(f'seed {args.seed}')}")
    return int(failed > 0)


def read_one(args: argparse.Namespace) -> int:
    """Reads one input as it is, so that what it raises is seen."""
    name, _, number = args.only.partition(":")
    if name not in NAMES or not number.isdecimal():
        raise ConfigError(f"--only {args.only} must be KIND:NUMBER, such as weights:17.")
    kind = available([name])[name]
    prepare(kind, args.output / "good" / name)
    task = Task(name, int(number), args.seed, args.output, args.limit)
    path = make_input(task, args.output / "inputs" / "only")
    print(path)
    kind.read(path)
    print("no error")
    return 0


def run(args: argparse.Namespace) -> int:
    """All inputs, or one."""
    args.output.mkdir(parents=True, exist_ok=True)
    return read_one(args) if args.only else fuzz(args)


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
