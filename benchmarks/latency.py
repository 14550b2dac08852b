"""Milliseconds an image from decoded image to people, and peak memory: SIA Pose, its exports, and YOLO.

    python benchmarks/latency.py --data DIR --methods sia_pose_simple=best.pt sia_pose_simple@320=best.xml
    python benchmarks/latency.py --data DIR --methods yolo11n=last.pt yolo11n@640=last_openvino_model --sides 192 640

Letterbox, network and decoding are in it, reading the file is not. Weights (NAME=FILE) are timed at every side, exports
(NAME@SIDE=FILE) at their own. Each turn is a process of its own, so that a busy machine harms all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import launch, machine, medians, table, take_turns
from benchmarks.comparison.methods import Method, parse_method


class Timed(NamedTuple):
    """A method with a file of weights, and the side of the square input in pixels; None for every side."""

    method: Method
    weights: Path
    side: int | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--methods", nargs="+", required=True, type=parse_timed, metavar="NAME[@SIDE]=FILE")
    add("--data", type=Path, required=True, help="images to run on: images/, train.json, val.json")
    add("--sides", type=int, nargs="+", default=[192, 256, 320, 640], help="sides of the square input")
    add("--threads", type=int, default=1, help="threads (default: 1)")
    add("--rounds", type=int, default=3, help="turns of each (default: 3)")
    add("--images", type=int, default=20, help="images a turn (default: 20)")


def parse_timed(text: str) -> Timed:
    """``NAME=FILE``, or ``NAME@SIDE=FILE``.

    Raises:
        ArgumentTypeError: an unknown name, or no file.
    """
    name, _, file = text.partition("=")
    name, _, side = name.partition("@")
    if not file or not Path(file).exists():
        raise argparse.ArgumentTypeError(f"'{text}' must be NAME=FILE or NAME@SIDE=FILE, and the file must exist")
    return Timed(parse_method(name), Path(file), int(side) if side else None)


def measure(side: int, args: argparse.Namespace, folder: Path) -> list[list[str]]:
    """The rows of one side: medians over the turns, and the most memory of any."""
    found = [timed for timed in args.methods if timed.side in (None, side)]
    memory = dict.fromkeys(found, 0.0)

    def once(timed: Timed) -> float:
        file = folder / "turn.json"
        flags = {"data": folder / "data", "side": side, "weights": timed.weights, "images": args.images, "output": file}
        timed.method.run("time", flags, folder / "log.txt", args.threads)
        turn = json.loads(file.read_text())
        memory[timed] = max(memory[timed], turn["megabytes"])
        return float(turn["milliseconds"])

    times = medians(take_turns({timed: partial(once, timed) for timed in found}, args.rounds))
    rows = []
    for timed, milliseconds in times.items():
        relative = milliseconds / times[found[0]]
        name = [str(side), timed.method.label, timed.weights.name]
        rows.append([*name, f"{milliseconds:.1f}", f"{relative:.2f}", f"{memory[timed]:.0f}"])
    return rows


def run(args: argparse.Namespace) -> None:
    """Prints the table of all sides."""
    from benchmarks.comparison.data import lay_out

    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        lay_out(args.data, Path(name, "data"))
        for side in args.sides:
            rows += measure(side, args, Path(name))
            print(f"{side} px: done", file=sys.stderr)
    print(table(["side", "method", "file", "ms", "relative", "peak MiB"], rows))
    print(f"\n{args.threads} thread(s), {args.images} images, {machine()}")


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
