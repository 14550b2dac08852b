"""SIA Pose for a comparison, through its public commands: train_pose.py, scripts/evaluate.py, and the predictor.

Settings are flags of train_pose.py without their dash, such as ``BS=8``. Its ``-TIME`` plans the schedule. While
training, one image is evaluated, which costs nothing; the last weights are evaluated afterwards.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ROOT
from benchmarks.comparison.data import with_images
from sia.coco.coco_files import read_json, write_annotations
from sia.io.images import read_image
from sia.runtimes.predictor import Predictor

read = read_image
"""An image as `load`'s function takes it: RGB."""


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Trains for the time, start of the program included; returns the record of it."""
    folder = args.output.parent
    fixed = {
        "MODEL": args.model, "IMGSZ": args.side, "SEED": args.seed, "WORKERS": 0, "DEVICE": "cpu", "INIT": "scratch",
        "COCO_ROOT": args.data / "images", "TRAIN_ANN": args.data / "train.json",
        "VAL_ANN": write_one(args.data, folder), "OUTPUT": folder, "EXP": "run", "TIME": args.minutes, "BS": 16,
        **args.options,
    }  # fmt: skip
    weights = folder / "run" / "weights" / "last.pt"
    flags = fixed
    if weights.is_file():  # stopped before its time was over
        flags = {"-RESUME": weights}
    else:
        shutil.rmtree(folder / "run", ignore_errors=True)  # of one that stopped before it saved anything
    command = [sys.executable, str(ROOT / "train_pose.py")]
    command += [text for flag, value in flags.items() for text in (f"-{flag}", str(value))]
    subprocess.run(command, check=True)
    with (folder / "run" / "results.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    return {
        "file": str(weights),
        "seconds": float(last["seconds"]),
        "images": int(last["step"]) * int(fixed["BS"]),
        "parameters": Predictor.load(weights, "cpu").runtime.description.parameters,
        "versions": f"torch {torch.__version__}",
    }


def write_one(data: Path, folder: Path) -> Path:
    """Annotations of the first training image that has labelled keypoints."""
    content = read_json(data / "train.json", "annotation file")
    labelled = next(row["image_id"] for row in content["annotations"] if row.get("num_keypoints"))
    write_annotations(folder / "train-one.json", with_images(content, {labelled}))
    return folder / "train-one.json"


def predict(args: argparse.Namespace) -> list[dict[str, Any]]:
    """COCO results of the validation images, as scripts/evaluate.py writes them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--weight_path", str(args.weights),
            "--coco_root", str(args.data / "images"), "--ann_file", str(args.data / "val.json"),
            "--imgsz", str(args.side), "--workers", "0", "--device", "cpu", "--output_dir", f"{folder}/evaluation",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows: list[dict[str, Any]] = json.loads(Path(folder, "evaluation", "results.json").read_text())
    return rows


def load(args: argparse.Namespace) -> Callable[[Any], object]:
    """Any weights file that the predictor takes, exports included."""
    predictor = Predictor.load(args.weights, "cpu", (args.side, args.side))
    return lambda image: predictor.predict([image])
