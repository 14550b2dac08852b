"""Milliseconds an image, batch 1, one thread, from decoded image to people; peak memory; and AP beside it.

    python benchmarks/peers/latency.py --data DIR --models yolo11n=a.pt yolo26n=b.pt sia_pose_simple=c.pt --output DIR

Weights are those of trainings, such as an arena's last checkpoints. The peers are also exported to their fastest CPU
runtimes; ours is timed through the predictor with whatever file is given, one entry each: its weights (.pt), or an
exported file (.onnx, .xml) as NAME@SIDE=FILE, which is timed at that size only. The contestants take turns, each time
in a process of its own, so that a busy machine harms all alike. AP is of the given weights at that input size, run
eagerly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.arena import environment, usable_processors
from benchmarks.peers.contestants import Entry, checked, parse_entry, pinned
from benchmarks.peers.curve import score
from benchmarks.peers.layout import prepare
from benchmarks.peers.runner import Checkpoint, Row
from sia.coco.coco_files import read_json
from sia.errors import ConfigError, exit_status

BY_SUFFIX = {".onnx": "onnx", ".xml": "openvino"}
"""Runtime of a file that was exported before; any other is run eagerly."""
EXPORTED = {"yolo11n": ("openvino", "onnx"), "yolo26n": ("openvino", "onnx")}
"""Runtimes that a contestant's own runner exports to."""


@dataclass(frozen=True)
class Model:
    """Weights to time; ``side`` is the only input size of an exported file, in pixels."""

    entry: Entry
    weights: Path
    side: int | None


@dataclass
class Timed:
    """One contestant with one runtime at one size.

    Attributes:
        entry: the contestant.
        runtime: eager, onnx or openvino.
        side: of the square input, pixels.
        weights: what is loaded.
        rows: of each round: milliseconds, megabytes.
        AP: in percent; None where it wasn't measured.
    """

    entry: Entry
    runtime: str
    side: int
    weights: Path
    rows: list[Row] = field(default_factory=list)
    AP: float | None = None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help="images to run on: images/, train.json, val.json")
    parser.add_argument("--models", nargs="+", required=True, type=parse_model, metavar="NAME[@SIDE]=FILE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[192, 256, 320, 640], help="input sides in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contestant (default: 3)")
    parser.add_argument("--images", type=int, default=20, help="images a turn (default: 20)")
    parser.add_argument("--output", type=Path, required=True, help="folder of table.md and of the exported files")
    return parser.parse_args(argv)


def parse_model(text: str) -> Model:
    """``NAME=FILE``, or ``NAME@SIDE=FILE``.

    Raises:
        ArgumentTypeError: an unknown name, or no file.
    """
    name, _, file = text.partition("=")
    name, _, side = name.partition("@")
    if not Path(file).is_file():
        raise argparse.ArgumentTypeError(f"'{text}' must be NAME=FILE or NAME@SIDE=FILE, and the file must exist")
    return Model(parse_entry(name), Path(file), int(side) if side else None)


def make_candidates(args: argparse.Namespace) -> list[Timed]:
    """Every contestant, runtime and size; exports what has to be."""
    found = []
    for side in args.sizes:
        for model in args.models:
            if model.side in (None, side):
                runtime = BY_SUFFIX.get(model.weights.suffix, "eager")
                found.append(Timed(model.entry, runtime, side, model.weights))
            for runtime in EXPORTED.get(model.entry.model, ()):
                file = export(model.entry, model.weights, side, runtime, args.output)
                found.append(Timed(model.entry, runtime, side, file))
    return found


def export(entry: Entry, weights: Path, side: int, runtime: str, output: Path) -> Path:
    """The exported file or folder; made once."""
    folder = output / "exported" / f"{entry.folder}-{side}-{runtime}"
    note = folder / "path.txt"
    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["--side", side, "--weights", weights, "--runtime", runtime, "--output", folder]
        command = entry.command("export", *flags)
        with (output / "log.txt").open("a") as log:
            answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(output))
        if answer.returncode:
            raise ConfigError(f"{entry.label} can't be exported to {runtime}: {' '.join(command)}")
        note.write_text(answer.stdout.strip().splitlines()[-1])
    return Path(note.read_text())


def time_once(candidate: Timed, args: argparse.Namespace, data: Path) -> None:
    """One turn, in a process of its own."""
    file = args.output / "turn.json"
    flags = ["--data", data, "--side", candidate.side, "--weights", candidate.weights, "--images", args.images]
    command = pinned(candidate.entry.command("time", *flags, "--output", file), usable_processors()[0])
    checked(command, args.output / "log.txt", environment(args.output))
    candidate.rows.append(json.loads(file.read_text()))


def measure_ap(candidate: Timed, args: argparse.Namespace, data: Path) -> None:
    """AP at this size."""
    file = args.output / "results.json"
    flags = ["--data", data, "--side", candidate.side, "--weights", candidate.weights, "--output", file]
    checked(candidate.entry.command("predict", *flags), args.output / "log.txt", environment(args.output))
    rows = read_json(file, "results file")
    point = score(candidate.entry.label, 0, Checkpoint(str(candidate.weights), 0.0, 0), rows, data / "val.json")
    candidate.AP = point.AP


def table(candidates: Sequence[Timed]) -> str:
    """Markdown, fastest first within each size: medians over the rounds, most memory of any."""
    lines = ["| input | contestant | runtime | ms an image | peak memory (MB) | AP |", "|-:|-|-|-:|-:|-:|"]
    timed = [candidate for candidate in candidates if candidate.rows]
    for one in sorted(timed, key=lambda one: (one.side, milliseconds(one))):
        memory = max(row["megabytes"] for row in one.rows)
        precision = "" if one.AP is None else f"{one.AP:.1f}"
        lines.append(
            f"| {one.side} | {one.entry.label} | {one.runtime} | {milliseconds(one):.1f} | {memory:.0f} | {precision} |"
        )
    return "\n".join(lines) + "\n"


def milliseconds(candidate: Timed) -> float:
    """Median over the rounds of the medians over the images."""
    return float(statistics.median(row["milliseconds"] for row in candidate.rows))


def run(args: argparse.Namespace) -> None:
    """Exports, times in turns, measures AP, and prints the table.

    Raises:
        SiaError: a contestant can't be run.
    """
    args.output.mkdir(parents=True, exist_ok=True)
    prepare(args.data, args.output / "data")
    candidates = make_candidates(args)
    for number in range(args.rounds):
        for candidate in candidates:
            time_once(candidate, args, args.output / "data")
        print(f"round {number + 1} of {args.rounds} done", file=sys.stderr, flush=True)
    for candidate in candidates:
        if candidate.runtime == "eager":
            measure_ap(candidate, args, args.output / "data")
    text = table(candidates)
    (args.output / "table.md").write_text(text)
    print(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
