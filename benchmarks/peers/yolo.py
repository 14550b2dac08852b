"""YOLO26-pose and YOLO11-pose by Ultralytics, through its public interface only. See runner.py for the commands.

Run by the Python of benchmarks/.peers-venv (AGPL-3.0), never imported by the product. Trained from the model's YAML, no
downloaded weights, with Ultralytics' defaults. What those defaults count in epochs of a run of 100 (the warm-up, the
last epochs without mosaic) is scaled to the epochs that fit into the time. Its own ``time`` setting ends the run and
fits the learning rate to it.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(YOLO_OFFLINE="true", YOLO_VERBOSE="false")

import cv2
import torch
import torchvision
import ultralytics
import yaml
from ultralytics import YOLO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.runner import Checkpoint, Clock, Contestant, Job, Record, Row, Run, main

WARMUP_SHARE, WARMUP_BATCHES = 0.03, 100
"""Ultralytics' default: 3 of 100 epochs of warm-up. That is too little of very short runs, so 100 batches at least."""
PLAIN_SHARE = 0.1
"""Ultralytics' default: the last 10 of 100 epochs without mosaic."""
LOWEST_SCORE = 0.001
"""What Ultralytics itself validates with."""


class Enough(Exception):
    """Ends a training from within, without the evaluation that would follow."""


class Yolo(Contestant):
    """Both families: the model's name, such as ``yolo11n`` or ``yolo26n``, names the YAML."""

    def train(self, job: Job) -> Record:
        """A short training to measure the speed, then the real one."""
        torch.set_num_threads(1)
        settings = base_settings(job)
        images = len(list((job.data / "yolo" / "images" / "train").iterdir()))
        rate = measure_rate(job, settings)
        epochs = max(1.0, rate * job.seconds / images)
        plan = schedule(epochs, images / settings["batch"])
        print(f"{rate:.1f} img/s: about {epochs:.1f} epochs; {plan}", flush=True)
        model = make_model(job)
        record = Record(count_parameters(model), versions(), {"images_per_second": rate, **plan, **job.options})
        watch(model, job, record, settings["batch"])
        run_until_enough(model, {**plan, **settings, "time": job.minutes / 60})
        return record

    def speed(self, job: Job) -> float:
        """Of its own trainer."""
        torch.set_num_threads(1)
        return measure_rate(job, base_settings(job))

    def predict(self, model: str, weights: Path, data: Path, side: int) -> list[Row]:
        """Boxes and keypoints as Ultralytics' own validation has them: score 0.001 or more, default NMS."""
        network = YOLO(str(weights), task="pose")
        source = str(data / "yolo" / "images" / "val")
        found = network.predict(source, imgsz=side, conf=LOWEST_SCORE, stream=True, verbose=False, device="cpu")
        return [row for image in found for row in coco_rows(image)]

    def read(self, image: Path) -> Any:
        """The file, decoded by Ultralytics' own reader: BGR."""
        return cv2.imread(str(image))

    def load(self, model: str, weights: Path, side: int) -> Run:
        """Ultralytics chooses the runtime by the kind of file or folder."""
        torch.set_num_threads(1)
        network = YOLO(str(weights), task="pose")
        return lambda image: network.predict(image, imgsz=side, verbose=False, device="cpu")

    def export(self, weights: Path, side: int, runtime: str, output: Path) -> Path:
        """Ultralytics' export writes beside the weights, so they are copied first."""
        output.mkdir(parents=True, exist_ok=True)
        copy = Path(shutil.copy(weights, output / f"{weights.stem}-{side}.pt"))
        return Path(YOLO(str(copy)).export(format=runtime, imgsz=side, device="cpu", verbose=False))


def base_settings(job: Job) -> dict[str, Any]:
    """What differs from Ultralytics' defaults: data, size, seed, and no evaluation on the clock."""
    fixed = {
        "data": str(own_data(job)), "imgsz": job.side, "seed": job.seed, "device": "cpu", "workers": 0, "batch": 16,
        "pretrained": job.start is not None, "val": False, "plots": False, "exist_ok": True, "verbose": False,
        "project": str(job.output), "amp": False,
    }  # fmt: skip
    return {**fixed, **{key: yaml.safe_load(value) for key, value in job.options.items()}}


def own_data(job: Job) -> Path:
    """data.yaml of this job alone: Ultralytics writes caches beside the labels, which two jobs at once would share."""
    shared, own = job.data / "yolo", job.output / "data"
    for kind in ("images", "labels"):
        (own / kind).mkdir(parents=True, exist_ok=True)
        for split in ("train", "val"):
            path = own / kind / split
            if not path.is_symlink():
                path.symlink_to((shared / kind / split).resolve())
    content = yaml.safe_load((shared / "data.yaml").read_text())
    (own / "data.yaml").write_text(yaml.safe_dump({**content, "path": str(own)}))
    return own / "data.yaml"


def make_model(job: Job) -> Any:
    """From the YAML, or from earlier weights."""
    return YOLO(str(job.start)) if job.start else YOLO(f"{job.model}-pose.yaml")


def measure_rate(job: Job, settings: dict[str, Any]) -> float:
    """Training images a second, after a warm-up of a few batches; the weights are thrown away."""
    stamps: list[float] = []

    def count(_: Any) -> None:
        stamps.append(time.monotonic())
        if len(stamps) > 4 and stamps[-1] - stamps[0] > job.calibration:
            raise Enough

    model = make_model(job)
    model.add_callback("on_train_batch_end", count)
    run_until_enough(model, {**settings, "epochs": 100, "name": "calibration"})
    shutil.rmtree(job.output / "calibration", ignore_errors=True)
    first = min(2, len(stamps) - 2)
    return float(settings["batch"] * (len(stamps) - 1 - first) / (stamps[-1] - stamps[first]))


def schedule(epochs: float, batches: float) -> dict[str, Any]:
    """Ultralytics' settings that are counted in epochs."""
    plain = max(1, round(PLAIN_SHARE * epochs)) if epochs > 2 else 0
    warmup = max(WARMUP_SHARE * epochs, WARMUP_BATCHES / batches)
    return {"epochs": math.ceil(epochs), "warmup_epochs": min(warmup, epochs / 4), "close_mosaic": plain}


def watch(model: Any, job: Job, record: Record, batch: int) -> None:
    """Callbacks that save averaged weights at fixed times, and the last ones when the time is over."""
    state: dict[str, Any] = {"images": 0}

    def start(trainer: Any) -> None:
        state["clock"] = Clock(job)
        record.parameters = count_parameters(trainer)

    def step(trainer: Any) -> None:
        images = len(trainer.train_loader.dataset)
        state["images"] = min(state["images"] + batch, (trainer.epoch + 1) * images)  # the last batch may be small
        if state["clock"].due():
            keep(trainer)

    def finish(trainer: Any) -> None:
        if trainer.stop or state["clock"].over or trainer.epoch + 1 >= trainer.epochs:
            keep(trainer)
            raise Enough

    def keep(trainer: Any) -> None:
        file = job.output / f"{len(record.checkpoints) + 1:03d}.pt"
        seconds = state["clock"].seconds
        trainer.save_model()
        shutil.copy(trainer.last, file)
        record.checkpoints.append(Checkpoint(str(file), seconds, state["images"]))

    handlers: dict[str, Callable[[Any], None]] = {
        "on_train_start": start, "on_train_batch_end": step, "on_train_epoch_end": finish,
    }  # fmt: skip
    for event, handler in handlers.items():
        model.add_callback(event, handler)


def run_until_enough(model: Any, settings: dict[str, Any]) -> None:
    """Trains."""
    try:
        model.train(**settings)
    except Enough:
        return


def count_parameters(model: Any) -> int:
    """Of a YOLO, or of a trainer's model."""
    return sum(parameter.numel() for parameter in model.model.parameters())


def versions() -> dict[str, str]:
    """Of what did the work."""
    return {"ultralytics": ultralytics.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}


def coco_rows(image: Any) -> list[Row]:
    """One row a person; the image's file is named by its id."""
    image_id = int(Path(image.path).stem)
    boxes, scores = image.boxes.xyxy.tolist(), image.boxes.conf.tolist()
    joints = image.keypoints.data.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
            "keypoints": [value for joint in person for value in joint],
        }
        for (x1, y1, x2, y2), score, person in zip(boxes, scores, joints, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main(Yolo()))
