"""The arena: all contestants on the same images, the same machine, the same time, and one scorer.

    python benchmarks/peers/arena.py --arena S --contestants yolo11n yolo26n sia_pose_simple --minutes 30 --output DIR
    python benchmarks/peers/arena.py --arena R --data DIR/coco_person --contestants ... --output DIR

Arena S draws 5,000 + 500 images of synthetic people, 192 px; arena R takes photographs. ``--data`` is any folder with
images/, train.json and val.json. A contestant is NAME or NAME:KEY=VALUE,... with settings of its own
(yolo11n:nbs=16,batch=8 or sia_pose_simple:BS=8). Each training has one hardware thread to itself; two at a time with
--jobs 2. Stopped, the same command goes on with the trainings that are not finished.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.contestants import HERE, Entry, checked, model_of, parse_entry, pinned
from benchmarks.peers.curve import Point, last_points, plot, read_points, score, table, write_points
from benchmarks.peers.layout import prepare
from benchmarks.peers.runner import Checkpoint
from datasets.synthetic import write_dataset
from sia.coco.coco_files import read_json
from sia.errors import ConfigError, SiaError

TRAIN, VAL, SIZE, SEED = 5000, 500, 192, 0
"""The images of arena S."""


@dataclass(frozen=True)
class Task:
    """One training of one contestant."""

    entry: Entry
    seed: int
    folder: Path
    start: Path | None

    @property
    def curve(self) -> Path:
        """Its scores; there when it is finished."""
        return self.folder / "curve.csv"


class Slots:
    """Hardware threads to run on; idle ones are kept busy, so that all trainings find the same machine."""

    def __init__(self, count: int) -> None:
        processors = usable_processors()
        if count > len(processors):
            raise ConfigError(f"--jobs {count} needs as what hardware threads, but there are {len(processors)}.")
        self._free: queue.Queue[int] = queue.Queue()
        self._ballast: dict[int, subprocess.Popen[bytes]] = {}
        self._count = count
        for processor in processors[:count]:
            self._free.put(processor)

    @contextmanager
    def one(self) -> Iterator[int]:
        """A thread of one's own."""
        processor = self._free.get()
        self._end_ballast(processor)
        try:
            yield processor
        finally:
            if self._count > 1:
                command = pinned([sys.executable, str(HERE / "ballast.py")], processor)
                self._ballast[processor] = subprocess.Popen(command, env=environment(None))
            self._free.put(processor)

    def close(self) -> None:
        """Ends what keeps the threads busy."""
        for processor in list(self._ballast):
            self._end_ballast(processor)

    def _end_ballast(self, processor: int) -> None:
        process = self._ballast.pop(processor, None)
        if process is not None:
            process.kill()
            process.wait()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--arena", choices=("S", "R"), required=True, help="S: synthetic people, R: photographs")
    parser.add_argument("--data", type=Path, help="images/, train.json, val.json (needed for R; S draws its own)")
    parser.add_argument("--images", type=int, help="train on the first so what only (default: all)")
    parser.add_argument("--contestants", nargs="+", required=True, type=parse_entry, metavar="NAME[:KEY=VALUE,...]")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time each (default: 30)")
    parser.add_argument("--every", type=float, default=3.0, help="minutes between checkpoints (default: 3)")
    parser.add_argument("--side", type=int, default=192, help="of the square input in pixels (default: 192)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training each (default: 0)")
    parser.add_argument(
        "--start",
        type=Path,
        help="output of another arena: each starts from its last weights there (of several, those of its settings)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each (default: 1)")
    parser.add_argument("--output", type=Path, required=True, help="folder of everything that is written")
    return parser.parse_args(argv)


def make_data(args: argparse.Namespace) -> Path:
    """The data as all contestants find it.

    Raises:
        SiaError: no data, or data that can't be used.
    """
    source = args.data
    if source is None:
        if args.arena == "R":
            raise ConfigError("--arena R needs --data, a folder with images/, train.json and val.json.")
        source = args.output / "images"
        write_dataset(source, TRAIN, VAL, SIZE, SEED)
    prepare(source, args.output / "data", args.images)
    return Path(args.output) / "data"


def make_tasks(args: argparse.Namespace) -> list[Task]:
    """Contestants alternate within each seed. The peers' environment is made now, if one of them needs it."""
    for entry in args.contestants:
        entry.command("train")
    return [
        Task(entry, seed, args.output / f"{entry.folder}-seed{seed}", start_weights(args.start, entry, seed))
        for seed in args.seeds
        for entry in args.contestants
    ]


def start_weights(arena: Path | None, entry: Entry, seed: int) -> Path | None:
    """The contestant's last weights in another arena; its settings may have been others there.

    Raises:
        ConfigError: it did not take part there, or several times with other settings.
    """
    if arena is None:
        return None
    record = arena / f"{entry.folder}-seed{seed}" / "record.json"
    of_model = [path for path in arena.glob(f"*-seed{seed}/record.json") if model_of(path.parent.name) == entry.model]
    records = [record] if record in of_model else of_model
    if len(records) != 1:
        what = "did not finish there" if not records else f"finished there {len(records)} times with other settings"
        raise ConfigError(f"--start {arena}: {entry.label} with seed {seed} {what}.")
    return Path(json.loads(records[0].read_text())["checkpoints"][-1]["file"])


def try_task(task: Task, args: argparse.Namespace, data: Path, slots: Slots) -> bool:
    """Whether it is finished; where it fails, the others go on."""
    if task.curve.is_file():
        print(f"{task.folder.name}: finished before", flush=True)
        return True
    try:
        run_task(task, args, data, slots)
    except SiaError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return True


def run_task(task: Task, args: argparse.Namespace, data: Path, slots: Slots) -> None:
    """Trains, predicts with every checkpoint, scores; steps that are done are skipped."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with slots.one() as processor:
        if not (task.folder / "record.json").is_file():
            print(f"{task.folder.name}: training on hardware thread {processor}", flush=True)
            run(task, training_command(task, args, data), processor)
        points = [predict(task, args, data, point, processor) for point in checkpoints(task)]
    write_points(task.curve, points)
    print(f"{task.folder.name}: AP " + ", ".join(f"{point.AP:.1f}" for point in points), flush=True)


def training_command(task: Task, args: argparse.Namespace, data: Path) -> list[str]:
    """The contestant's own."""
    flags = ["--data", data, "--side", args.side, "--minutes", args.minutes, "--every", args.every]
    flags += ["--seed", task.seed, "--output", task.folder]
    flags += ["--weights", task.start] if task.start else []
    flags += ["--options", *task.entry.options] if task.entry.options else []
    return task.entry.command("train", *flags)


def checkpoints(task: Task) -> list[Checkpoint]:
    """What the training kept."""
    return [Checkpoint(**row) for row in json.loads((task.folder / "record.json").read_text())["checkpoints"]]


def predict(task: Task, args: argparse.Namespace, data: Path, checkpoint: Checkpoint, processor: int) -> Point:
    """Results of the held-out images and their score."""
    results = task.folder / f"results-{checkpoint.seconds:06.0f}.json"
    if not results.is_file():
        flags = ["--data", data, "--side", args.side, "--weights", checkpoint.file, "--output", results]
        run(task, task.entry.command("predict", *flags), processor)
    rows = read_json(results, "results file")
    return score(task.entry.label, task.seed, checkpoint, rows, data / "val.json")


def run(task: Task, command: Sequence[str], processor: int) -> None:
    """On one hardware thread, its output in the task's log."""
    checked(pinned(command, processor), task.folder / "log.txt", environment(task.folder))


def environment(folder: Path | None) -> dict[str, str]:
    """One thread in every library; Ultralytics' settings stay in the folder of the task."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    own = {"YOLO_CONFIG_DIR": str(folder.resolve())} if folder else {}
    return {**os.environ, **one, **own}


def usable_processors() -> list[int]:
    """Numbers of the hardware threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def conclude(tasks: Sequence[Task], args: argparse.Namespace, data: Path) -> None:
    """table.md, curve.csv and curve.png of what is finished."""
    finished = [task for task in tasks if task.curve.is_file()]
    points = [point for task in finished for point in read_points(task.curve)]
    if not points:
        return
    records = {task.entry.label: json.loads((task.folder / "record.json").read_text()) for task in finished}
    parameters = {label: record["parameters"] for label, record in records.items()}
    text = describe(args, data, records) + "\n" + table(points, 60 * args.minutes, parameters)
    (args.output / "table.md").write_text(text)
    write_points(args.output / "curve.csv", points)
    title = f"arena {args.arena}, {args.side} px, {args.minutes:g} minutes on one thread"
    plot(points, title, args.output / "curve.png")
    print(text)
    late = {(p.contestant, p.seed) for p in points} - {
        (p.contestant, p.seed) for p in last_points(points, 60 * args.minutes)
    }
    for name, seed in sorted(late):
        print(f"warning: {name}, seed {seed}, has no checkpoint within the time", file=sys.stderr)


def describe(args: argparse.Namespace, data: Path, records: dict[str, dict[str, object]]) -> str:
    """What was run, on what, with which versions and plans."""
    sizes = [len(read_json(data / f"{split}.json", "annotation file")["images"]) for split in ("train", "val")]
    start = "from their own weights of another arena" if args.start else "from scratch"
    lines = [
        f"Arena {args.arena}: {sizes[0]:,} training and {sizes[1]:,} held-out images, {args.side} px, {start}, "
        f"{args.minutes:g} minutes of training on one hardware thread each, {args.jobs} at a time, "
        f"{platform.processor() or platform.machine()}.",
        "",
    ]
    lines += [f"- {label}: {record['versions']}, {record['plan']}" for label, record in records.items()]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        data = make_data(args)
        tasks, slots = make_tasks(args), Slots(args.jobs)
        try:
            with ThreadPoolExecutor(args.jobs) as pool:
                finished = list(pool.map(lambda task: try_task(task, args, data, slots), tasks))
        finally:
            slots.close()
            conclude(tasks, args, data)
        return 0 if all(finished) else 1
    except SiaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
