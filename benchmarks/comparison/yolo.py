"""YOLO26-pose and YOLO11-pose by Ultralytics, through its public interface only.

Run by the Python of benchmarks/.comparison-venv (AGPL-3.0), never imported by the product. Trained from the model's
YAML, without downloaded weights, with Ultralytics' defaults and its ``time`` setting, which ends the training and fits
the learning rate to it. Defaults that are counted in epochs of a training of 100 are made for one of 10. A training
that was stopped goes on from its last whole epoch, with the time that it had left.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(YOLO_OFFLINE="true", YOLO_VERBOSE="false")

import cv2
import torch
import ultralytics
import yaml
from ultralytics import YOLO

LOWEST_SCORE = 0.001
"""What Ultralytics itself validates with."""


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Trains for the time, with no evaluation on the clock; returns the record of it."""
    folder = args.output.parent.resolve()
    settings = {
        "data": str(own_data(args.data / "yolo", folder / "data")), "imgsz": args.side, "seed": args.seed,
        "device": "cpu", "workers": 0, "batch": 16, "pretrained": False, "val": False,
        "plots": False, "amp": False, "exist_ok": True, "verbose": False, "project": str(folder), "name": "run",
        "epochs": 10, "time": args.minutes / 60, "warmup_epochs": 0.3, "close_mosaic": 1,
    }  # fmt: skip
    settings.update({key: yaml.safe_load(value) for key, value in args.options.items()})
    run = folder / "run"
    last, seen = run / "weights" / "last.pt", list[int]()
    resumes = last.is_file()
    model = YOLO(str(last) if resumes else f"{args.model}-pose.yaml")
    spent = float(last_row(run)["time"]) if resumes else 0.0

    def count_spent(trainer: Any) -> None:
        trainer.train_time_start -= spent

    def begin_epoch(trainer: Any) -> None:
        trainer.start_epoch = 0  # its mean time of an epoch divides all the time by the epochs since this one
        seen.clear()

    model.add_callback("on_train_start", count_spent)
    model.add_callback("on_train_epoch_start", begin_epoch)
    model.add_callback("on_train_batch_end", lambda trainer: seen.append(trainer.batch_size))
    model.train(**settings, resume=resumes)
    return {
        "file": str(last),
        "seconds": float(last_row(run)["time"]),
        "images": model.trainer.epoch * len(model.trainer.train_loader.dataset) + sum(seen),
        "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
        "versions": f"ultralytics {ultralytics.__version__}, torch {torch.__version__}",
    }


def last_row(run: Path) -> dict[str, str]:
    """Of a training's results.csv, without the spaces around the names."""
    with (run / "results.csv").open(newline="") as stream:
        return [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(stream)][-1]


def own_data(shared: Path, own: Path) -> Path:
    """data.yaml of this training alone: Ultralytics writes caches beside the labels."""
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(shared, own, symlinks=True)
    content = yaml.safe_load((shared / "data.yaml").read_text())
    (own / "data.yaml").write_text(yaml.safe_dump({**content, "path": str(own)}))
    return own / "data.yaml"


def predict(args: argparse.Namespace) -> list[dict[str, Any]]:
    """COCO results as Ultralytics' own validation has them: score 0.001 or more, default NMS."""
    source = str(args.data / "yolo" / "images" / "val")
    model = YOLO(str(args.weights), task="pose")
    found = model.predict(source, imgsz=args.side, conf=LOWEST_SCORE, stream=True, verbose=False, device="cpu")
    return [row for image in found for row in coco_rows(image)]


def coco_rows(image: Any) -> list[dict[str, Any]]:
    """One row a person; the image's file is named by its id."""
    boxes, scores, keypoints = image.boxes.xyxy.tolist(), image.boxes.conf.tolist(), image.keypoints.data
    return [
        {
            "image_id": int(Path(image.path).stem),
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
            "keypoints": person.flatten().tolist(),
        }
        for (x1, y1, x2, y2), score, person in zip(boxes, scores, keypoints, strict=True)
    ]


def read(file: Path) -> Any:
    """The file, decoded by Ultralytics' own reader: BGR."""
    return cv2.imread(str(file))


def load(args: argparse.Namespace) -> Callable[[Any], object]:
    """Ultralytics chooses the runtime by the kind of file or folder."""
    model = YOLO(str(args.weights), task="pose")
    return lambda image: model.predict(image, imgsz=args.side, verbose=False, device="cpu")
