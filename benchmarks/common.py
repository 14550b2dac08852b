"""What the benchmarks share: flags, turns, tables, and the machine that figures belong to. Loads nothing heavy."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from sia import registry
from sia.errors import exit_status

ROOT = Path(__file__).resolve().parents[1]
MODELS = tuple(registry.MODELS)
SIZES = tuple(size for size in registry.HEAD_CONFIGS if size != "test")
Key = TypeVar("Key")


def launch(
    description: str | None,
    add_flags: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """A command: its flags, then its work; returns the exit status, with one line for what a user can fix."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_flags(parser)
    args = parser.parse_args(argv)
    return exit_status(lambda: run(args))


def take_turns(jobs: Mapping[Key, Callable[[], float]], rounds: int, warm_up: int = 0) -> dict[Key, list[float]]:
    """What each job returns in each round, the first ones aside; a busy moment of the machine so harms all alike."""
    values: dict[Key, list[float]] = {key: [] for key in jobs}
    for number in range(warm_up + rounds):
        for key, job in jobs.items():
            value = job()
            if number >= warm_up:
                values[key].append(value)
    return values


def medians(values: Mapping[Key, Sequence[float]]) -> dict[Key, float]:
    """The median of each."""
    return {key: statistics.median(row) for key, row in values.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; a number with its unit as it should be shown comes as text."""
    numeric = [all(str(row[column])[:1].isdigit() for row in rows) for column in range(len(head))]
    lines = [head, ["--:" if right else "-" for right in numeric], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine(*facts: str) -> str:
    """What figures belong to, in one line: processor, load, versions, the facts given, and the day."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    today = datetime.datetime.now(datetime.timezone.utc)
    parts = [processor, f"{os.cpu_count()} threads", f"load {os.getloadavg()[0]:.1f}", f"torch {version('torch')}"]
    return ", ".join([*parts, *facts, f"{today:%Y-%m-%d}"])


def peak_memory() -> int:
    """Most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
