"""HOTA, IDF1 and MOTA of `sia predict --track` on rendered clips in which people go away and come back.

    python benchmarks/tracking.py --clips 5 --output runs/tracking

The evaluator is that of the package trackers (Apache-2.0). It pins another build of OpenCV, so it gets a virtual
environment of its own in the output folder; --python names one that has it already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, launch, machine
from sia.io.output_file import named_folder, write_text

EVALUATOR = "trackers==2.6.1"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--output", type=Path, default=Path("runs/tracking"), metavar="DIR", help="a new folder (default: %(default)s)")
    add("--clips", type=int, default=5, help="clips of 9 seconds (default: %(default)s)")
    add("--seed", type=int, default=1000, help="of the first clip's people (default: %(default)s)")
    add("--memory", type=float, nargs="+", default=[0.0, 30.0], help="what --track_memory is (default: 0 30)")
    add("--python", type=Path, metavar="FILE", help="an interpreter with the package trackers")
    add("--flags", nargs=argparse.REMAINDER, default=[], help="the rest goes to sia predict")


def run(args: argparse.Namespace) -> None:
    """Renders, tracks, evaluates."""
    folder = named_folder(args.output)
    python = args.python or _environment(folder / "environment")
    clips = [_render(folder, args.seed + number) for number in range(args.clips)]
    print(machine(f"{args.clips} clips, seed {args.seed}"))
    for memory in args.memory:
        found = folder / f"memory_{memory:g}"
        for clip in clips:
            out = found / clip.stem
            flags = ["--track_memory", f"{memory:g}", "--track", "--output_dir", str(out), *args.flags]
            command = [sys.executable, "-m", "sia", "predict", str(clip), *flags]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            write_text(found / f"{clip.stem}.txt", mot_text(_found(out / f"{clip.stem}.jsonl")))
        print(f"\n--track_memory {memory:g}", flush=True)
        options = ["--metrics", "CLEAR", "HOTA", "Identity", "--columns", "HOTA", "IDF1", "MOTA", "IDSW"]
        places = ["--gt-dir", str(folder / "truth"), "--tracker-dir", str(found)]
        subprocess.run([str(python.with_name("trackers")), "eval", *places, *options], check=True)


def mot_text(rows: Iterator[tuple[int, int, Sequence[float]]]) -> str:
    """MOT's text of frames from 0 on, ids, and boxes x, y, width, height: frames count from 1 there.

    The last columns are confidence, class and visibility. Only class 1, pedestrians, is evaluated.
    """
    lines = (f"{frame + 1},{number},{','.join(f'{v:.2f}' for v in box)},1,1,1\n" for frame, number, box in rows)
    return "".join(lines)


def _found(path: Path) -> Iterator[tuple[int, int, Sequence[float]]]:
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        yield from ((row["frame"], person["id"], person["bbox"]) for person in row["people"] if person["id"])


def _render(folder: Path, seed: int) -> Path:
    """Writes a clip and its truth."""
    from benchmarks.clips import absence, render, write_clip

    shots = list(render(absence(seed, stranger=seed % 5 == 4), 9.0, seed))
    boxes = [(t, who + 1, box.tolist()) for t, shot in enumerate(shots) for who, box in enumerate(shot.boxes)]
    rows = ((t, who, (x1, y1, x2 - x1, y2 - y1)) for t, who, (x1, y1, x2, y2) in boxes if x2 > x1)
    (folder / "truth").mkdir(exist_ok=True)
    write_text(folder / "truth" / f"clip_{seed}.txt", mot_text(rows))
    return write_clip(folder / f"clip_{seed}.mp4", shots)


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", EVALUATOR], check=True)
    return python


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
