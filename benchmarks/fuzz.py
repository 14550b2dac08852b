"""Reads thousands of damaged files of every kind: no traceback, no hang, no more than 2 GB of memory.

python benchmarks/fuzz.py                                       10,000 inputs, half an hour on two cores
python benchmarks/fuzz.py --kinds weights images --inputs 500
python benchmarks/fuzz.py --only weights:17                     one input in this process, with its traceback

Each input is a good file, made by the project itself, with changes that the seed decides. Those that fail are kept in
``--output``, and failures.txt there says how to make each again. Ends with status 1 if any failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker for each core is faster than threads

from benchmarks.fuzzing.inputs import FAILURES, HANG, MEMORY, OK, REFUSED, TRACEBACK, Kind, prepare, write_input
from benchmarks.fuzzing.kinds import KINDS, input_folder, shares
from benchmarks.fuzzing.worker import Result, Task, run
from sia.errors import ConfigError, exit_status

COLUMNS = (OK, REFUSED, TRACEBACK, HANG, MEMORY)
TITLES = ("inputs", "ok", "refused", "tracebacks", "hangs", "over 2 GB", "seconds")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags."""
    names = [kind.name for kind in KINDS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many, over all kinds (default: 10000)")
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, metavar="KIND", help=", ".join(names))
    parser.add_argument("--seed", type=int, default=0, help="of all changes (default: 0)")
    parser.add_argument(
        "--limit", type=float, default=30.0, help="seconds of the processor that an input may take (default: 30)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/fuzz"), help="folder for good files and failures (default: runs/fuzz)"
    )
    parser.add_argument("--only", metavar="KIND:NUMBER", help="read one input in this process, and say what it raises")
    return parser.parse_args(argv)


def available(names: Sequence[str]) -> list[Kind]:
    """The kinds whose packages are there; the others are named."""
    kinds = [kind for kind in KINDS if kind.name in names]
    missing = {kind.name: [p for p in kind.needs if importlib.util.find_spec(p) is None] for kind in kinds}
    for name, packages in missing.items():
        if packages:
            print(f"{name} are left out: pip install {' '.join(packages)}")
    return [kind for kind in kinds if not missing[kind.name]]


def tasks_of(kinds: Sequence[Kind], inputs: int) -> list[Task]:
    """All inputs, kind by kind."""
    counts = shares([kind.name for kind in kinds], inputs)
    return [Task(name, number) for name, count in counts.items() for number in range(count)]


def keep(result: Result, output: Path, seed: int) -> None:
    """Puts a failing input aside, with how to make it again."""
    task, outcome = result.task, result.outcome
    folder = output / "failures" / f"{task.kind}-{task.number}"
    shutil.rmtree(folder, ignore_errors=True)
    if result.folder.is_dir():
        shutil.copytree(result.folder, folder, symlinks=True)
    with (output / "failures.txt").open("a", encoding="utf-8") as stream:
        again = f"python benchmarks/fuzz.py --seed {seed} --only {task.kind}:{task.number}"
        stream.write(f"{outcome.verdict}  {again}\n    {' '.join(outcome.message.split())[:500]}\n")


def table(counts: dict[str, Counter[str]], seconds: dict[str, float]) -> str:
    """Counts by kind, and their sums."""
    rows = [
        [name, count.total(), *(count[verdict] for verdict in COLUMNS), round(seconds[name])]
        for name, count in counts.items()
    ]
    total = ["all", *(sum(row[i] for row in rows) for i in range(1, len(TITLES) + 1))]  # type: ignore[misc]
    lines = [("kind", *TITLES), *rows, total]
    return "\n".join("  ".join(f"{cell!s:>11}" for cell in line) for line in lines)


def fuzz(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status."""
    kinds = available(args.kinds)
    args.output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(args.output / "failures", ignore_errors=True)
    (args.output / "failures.txt").unlink(missing_ok=True)
    counts = {kind.name: Counter[str]() for kind in kinds}
    seconds: dict[str, float] = defaultdict(float)
    begun = time.monotonic()
    for kind in kinds:
        print(f"good files: {kind.name}", flush=True)
        prepare(kind, args.output / "good" / kind.name)
    tasks = tasks_of(kinds, args.inputs)
    for number, result in enumerate(
        run(tasks, args.seed, args.output / "good", input_folder(args.output), args.workers, args.limit), 1
    ):
        counts[result.task.kind][result.outcome.verdict] += 1
        seconds[result.task.kind] += result.outcome.seconds
        if result.outcome.verdict in FAILURES:
            keep(result, args.output, args.seed)
            print(f"{result.task.kind}:{result.task.number} {result.outcome.verdict}: {result.outcome.message[:200]}")
        if number % 500 == 0:
            print(f"{number} of {len(tasks)} inputs, {time.monotonic() - begun:.0f} s", flush=True)
    print(table(counts, seconds))
    failed = sum(count[verdict] for count in counts.values() for verdict in FAILURES)
    print(f"{failed} of {len(tasks)} inputs failed; {time.monotonic() - begun:.0f} s. Kept in {args.output}")
    return int(failed > 0)


def read_one(args: argparse.Namespace) -> int:
    """Reads one input as it is, so that what it raises is seen."""
    name, _, number = args.only.partition(":")
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None or not number.isdecimal():
        raise ConfigError(f"--only {args.only} must be KIND:NUMBER, such as weights:17.")
    seeds = args.output / "good" / name
    prepare(kind, seeds)
    path = write_input(kind, int(number), args.seed, seeds, input_folder(args.output) / "only")
    print(path)
    kind.read(path)
    print("no error")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    return exit_status(lambda: read_one(args) if args.only else fuzz(args))


if __name__ == "__main__":
    sys.exit(main())
