"""Speed of the training loader on real photographs, beside Ultralytics' loader in the same run.

    python benchmarks/loader_speed.py [--data DIR] [--images 320] [--rounds 3] [--sizes 256 640]

One worker's work is timed in one process and one thread: decoding, augmentation with mosaic, and collation, without
the transfer between processes, which torch does for both alike. The two loaders take turns, so that a busy machine
harms both. Ultralytics (AGPL) lives in an environment of its own, benchmarks/.peers-venv, made by ``uv`` on first use;
without ``uv`` or with ``--alone`` only our loader is timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.peers.environment import peers_python  # noqa: E402
from benchmarks.peers.layout import write_yolo_data, write_yolo_split  # noqa: E402
from datasets.augmentation.transforms import Augmentation  # noqa: E402
from datasets.coco.coco_pose import CocoPose  # noqa: E402
from datasets.loader import training_loader  # noqa: E402

AUGMENTATIONS = {"as shipped": Augmentation(), "all mosaic, 15 degrees": Augmentation(mosaic=1.0, rotation=15.0)}
Row = dict[str, Any]


def main() -> None:
    """Runs the rounds and prints a table and one json line."""
    args = parse_arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    dataset = CocoPose(args.data / "coco_person" / "images", args.data / "coco_person" / "train.json")
    ours: list[Row] = []
    theirs: list[Row] = []
    version = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = None if args.alone else peers_python()
        if python is not None:
            write_yolo_split(dataset, folder, "train")
            write_yolo_data(folder, dataset.skeleton, ("train",))
        elif not args.alone:
            print("uv is not installed: only our own loader is timed", file=sys.stderr)
        for number in range(args.rounds):
            seed = args.seed + number
            ours += [time_ours(dataset, size, name, args, seed) for size in args.sizes for name in AUGMENTATIONS]
            if python is not None:
                answer = time_theirs(python, folder, args, seed)
                version, theirs = answer["version"], theirs + answer["rows"]
            print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)
    report(args, ours, theirs, version)


def parse_arguments() -> argparse.Namespace:
    """The flags; see the module's first lines."""
    data = Path(os.environ.get("SIA_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="folder that holds coco_person/ (default: SIA_DATA)")
    parser.add_argument("--images", type=int, default=320, help="images per measurement (default: 320)")
    parser.add_argument("--rounds", type=int, default=3, help="times that both loaders take their turn (default: 3)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 640], help="square input sizes in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images per batch (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default: 0)")
    parser.add_argument("--alone", action="store_true", help="time our loader only")
    return parser.parse_args()


def time_ours(dataset: CocoPose, size: int, name: str, args: argparse.Namespace, seed: int) -> Row:
    """One measurement of our loader, after two batches of warm-up."""
    loader = training_loader(
        dataset, image_size=(size, size), batch_size=args.batch, workers=0, seed=seed, augmentation=AUGMENTATIONS[name]
    )
    batches = iter(loader)
    list(itertools.islice(batches, 2))
    wall, cpu, seen = time.perf_counter(), time.process_time(), 0
    while seen < args.images and (batch := next(batches, None)) is not None:
        seen += len(batch.images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    speeds = {"images_per_second": seen / wall, "images_per_cpu_second": seen / cpu}
    return {"size": size, "augmentation": name, **speeds}


def time_theirs(python: Path, folder: Path, args: argparse.Namespace, seed: int) -> Row:
    """The same measurements by Ultralytics' loader, in its own environment."""
    script = ROOT / "benchmarks" / "peers" / "ultralytics_loader.py"
    command = [str(python), str(script), "--folder", str(folder), "--images", str(args.images)]
    command += ["--batch", str(args.batch), "--seed", str(seed), "--sizes", *map(str, args.sizes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "YOLO_CONFIG_DIR": str(folder), "YOLO_VERBOSE": "False"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: Row = json.loads(output.strip().splitlines()[-1])
    return answer


def report(args: argparse.Namespace, ours: list[Row], theirs: list[Row], version: str | None) -> None:
    """Medians over the rounds, and the ratio to Ultralytics."""
    print(f"{args.rounds} rounds of {args.images} images, batches of {args.batch}, seeds from {args.seed}, one thread")
    print(f"{platform.processor() or platform.machine()}, OpenCV {cv2.__version__}, Ultralytics {version}")
    print(f"{'size':>5}  {'augmentation':24}{'ours img/s (cpu)':>18}{'theirs img/s (cpu)':>20}{'ratio (cpu)':>14}")
    for size, name in itertools.product(args.sizes, AUGMENTATIONS):
        mine, peer = (medians(rows, size, name) for rows in (ours, theirs))
        line = f"{size:5}  {name:24}{mine[0]:9.0f} ({mine[1]:.0f}){'':>4}"
        if theirs:
            line += f"{peer[0]:9.0f} ({peer[1]:.0f}){'':>6}{mine[0] / peer[0]:6.2f} ({mine[1] / peer[1]:.2f})"
        print(line)
    print(json.dumps({"ours": ours, "theirs": theirs, "ultralytics": version}))


def medians(rows: list[Row], size: int, name: str) -> tuple[float, float]:
    """Images per second of time and of CPU time."""
    chosen = [row for row in rows if row["size"] == size and row["augmentation"] == name]
    if not chosen:
        return float("nan"), float("nan")
    return median(r["images_per_second"] for r in chosen), median(r["images_per_cpu_second"] for r in chosen)


if __name__ == "__main__":
    main()
