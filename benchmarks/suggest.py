"""Are images that `sia suggest` chooses worth more than random ones? Trainings that differ in these images alone.

    python benchmarks/suggest.py --data DIR/coco_person --first 0.1 --n 150 --seeds 0 1 2 --start START.pt

For each seed: a model learns from a tenth of the labels, suggests images among the others, and learns once more with
these, and once more with as many random ones, all from the same start. What is done is not done again. START.pt should
not have seen the images: the bundled weights have seen COCO's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, launch, machine, table
from sia.coco.coco_files import read_json, with_images, write_annotations


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with images/, train.json and val.json")
    add("--start", default="scratch", help="weights to start from, or scratch (default: scratch)")
    add("--first", type=float, default=0.1, help="fraction that is labelled at first (default: 0.1)")
    add("--n", type=int, default=150, help="images to add (default: 150)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the first images and the random ones")
    add("--epochs", type=int, default=30, help="of every training (default: 30)")
    add("--side", type=int, default=256, help="input size in pixels (default: 256)")
    add("--output", type=Path, default=ROOT / "runs" / "suggest-benchmark", help="folder; continued if it is there")


class Run:
    """One seed.

    Args:
        args: the command line.
        seed: of the first images and the random ones.
    """

    def __init__(self, args: argparse.Namespace, seed: int) -> None:
        self.args, self.seed, self.folder = args, seed, args.output / f"seed-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.content = read_json(args.data / "train.json", "annotation file")
        ids = np.array([image["id"] for image in self.content["images"]])
        order = np.random.default_rng(seed).permutation(ids).tolist()
        count = round(args.first * len(ids))
        self.first, self.random = order[:count], order[count : count + args.n]

    def train(self, name: str, ids: list[int]) -> Path:
        """Weights after learning from these images."""
        best: Path = self.folder / name / "weights" / "best.pt"
        labels = self.folder / f"{name}.json"
        if not best.exists():
            write_annotations(labels, with_images(self.content, set(ids)))
            a, last = self.args, best.with_name("last.pt")
            start = ["-INIT", "scratch"] if a.start == "scratch" else ["--RESUME", a.start]
            flags = ["-MODEL", "sia_pose_simple", *start, "-IMGSZ", a.side, "-EPOCH", a.epochs, "-BS", 8]
            flags += ["-COCO_ROOT", a.data / "images", "-TRAIN_ANN", labels, "-VAL_ANN", a.data / "val.json"]
            flags += ["-SEED", self.seed, "-OUTPUT", self.folder, "-EXP", name, "-EVAL_EVERY", a.epochs]
            call(ROOT / "train_pose.py", *(["--RESUME", last] if last.exists() else flags))
        return best

    def suggest(self, weights: Path) -> list[int]:
        """Ids of the images that the model suggests."""
        target = self.folder / "suggested"
        if not target.exists():
            call(
                "-m", "sia", "suggest", "--images", self.args.data / "images", "--n", len(self.content["images"]),
                "--ann_file", self.folder / "first.json", "--weight_path", weights, "--output_dir", target,
            )  # fmt: skip
        ids = {Path(image["file_name"]).name: image["id"] for image in self.content["images"]}
        rows = json.loads((target / "suggested.json").read_text())["images"]
        return [ids[name] for row in rows if (name := Path(row["file"]).name) in ids][: self.args.n]

    def compare(self) -> list[str]:
        """AP with random and with suggested images, and the interval of the difference, in percent."""
        first = self.train("first", self.first)
        random = self.train("random", self.first + self.random)
        suggested = self.train("suggested-training", self.first + self.suggest(first))
        target = self.folder / "comparison"
        if not target.exists():
            call(
                ROOT / "scripts" / "evaluate.py", "--weight_path", random, "--compare", suggested, "--output_dir",
                target, "--coco_root", self.args.data / "images", "--ann_file", self.args.data / "val.json",
            )  # fmt: skip
        found = json.loads((target / "comparison.json").read_text())
        values = [found["before"]["value"], found["after"]["value"], *(found["difference"][k] for k in ("low", "high"))]
        return [str(self.seed), *(f"{100 * value:.1f}" for value in values)]


def call(*words: object) -> None:
    """Runs a command of the repository; its error ends this one."""
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True)


def run(args: argparse.Namespace) -> None:
    """All seeds; prints the table."""
    rows = [Run(args, seed).compare() for seed in args.seeds]
    print(table(["seed", "AP, random", "AP, suggested", "difference from", "to"], rows))
    print(machine(f"{args.n} images, {args.epochs} epochs, {args.side} px, from {args.start}"))


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
