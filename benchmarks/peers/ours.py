"""SIA Pose, through its public commands: train_pose.py, scripts/evaluate.py and the predictor behind inference.

See runner.py for the commands. Options are flags of train_pose.py without their dash, such as
``BS=8 LR=0.002``. The
number of epochs is what a short training before says will fit; the learning rate's cosine ends with the last of them.
While training, only one image of the training set is evaluated, which costs nothing; the kept weights are evaluated
afterwards.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.layout import write_first
from benchmarks.peers.runner import Checkpoint, Contestant, Job, Record, Row, Run, main
from sia.coco.coco_files import read_json, with_images, write_annotations
from sia.io.images import read_image
from sia.runtimes.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]
RESERVE = 0.97
"""Fraction of the time that is planned for: a run that comes late has not finished its schedule."""
CALIBRATION_EPOCHS = 3
"""The first is slow, the last is evaluated; the one between them is measured."""


class Sia(Contestant):
    """The product's models by their -MODEL names."""

    def train(self, job: Job) -> Record:
        """Measures the speed, then trains as many epochs as fit."""
        rate = measure_rate(job)
        images = len(read_json(job.data / "train.json", "annotation file")["images"])
        epochs = max(1, int(RESERVE * job.seconds * rate / images))
        between = max(1, round(60 * job.every * rate / images))
        print(f"{rate:.1f} img/s: {epochs} epochs, evaluated every {between}", flush=True)
        run = train(job, job.data / "train.json", "run", {"EPOCH": epochs, "EVAL_EVERY": between})
        record = Record(0, {"torch": torch.__version__}, {"images_per_second": rate, "epochs": epochs, **job.options})
        record.checkpoints = kept_weights(run, int(batch_size(job)))
        record.parameters = count_parameters(Path(record.checkpoints[-1].file))
        return record

    def speed(self, job: Job) -> float:
        """Of train_pose.py."""
        return measure_rate(job)

    def predict(self, model: str, weights: Path, data: Path, side: int) -> list[Row]:
        """What scripts/evaluate.py writes."""
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--weight_path", str(weights),
                "--coco_root", str(data / "images"), "--ann_file", str(data / "val.json"), "--imgsz", str(side),
                "--workers", "0", "--device", "cpu", "--output_dir", str(Path(folder) / "evaluation"),
            ]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            rows: list[Row] = json.loads((Path(folder) / "evaluation" / "results.json").read_text())
        return rows

    def read(self, image: Path) -> Any:
        """RGB."""
        return read_image(image)

    def load(self, model: str, weights: Path, side: int) -> Run:
        """Any weights file that the predictor takes, exports included."""
        torch.set_num_threads(1)
        predictor = Predictor.load(weights, "cpu", (side, side))
        return lambda image: predictor.predict([image])


def measure_rate(job: Job) -> float:
    """Training images a second, from three epochs over a part of the images."""
    content = read_json(job.data / "train.json", "annotation file")
    guess = int(8 * job.calibration)  # at 25 img/s, an epoch of 14 seconds
    count = max(2 * int(batch_size(job)), min(guess, len(content["images"])))
    part = job.output / f"train-{count}.json"  # the name tells CocoPose the split
    write_first(job.data / "train.json", count, part)
    flags = {"EPOCH": CALIBRATION_EPOCHS, "EVAL_EVERY": CALIBRATION_EPOCHS}
    run = train(replace(job, start=None), part, "calibration", flags)
    first, second, _ = read_rows(run)
    steps, seconds = (float(second[name]) - float(first[name]) for name in ("step", "seconds"))
    shutil.rmtree(run)
    return steps * int(batch_size(job)) / seconds


def batch_size(job: Job) -> str:
    """Images a step; train_pose.py's default is 16."""
    return job.options.get("BS", "16")


def write_one(content: Row, folder: Path) -> Path:
    """Annotations of the first image that has labelled keypoints."""
    labelled = next(row["image_id"] for row in content["annotations"] if row.get("num_keypoints"))
    path = folder / "train-one.json"
    write_annotations(path, with_images(content, {labelled}))
    return path


def train(job: Job, annotations: Path, name: str, flags: dict[str, int]) -> Path:
    """Runs train_pose.py on one thread, loader included; returns its run folder."""
    one = write_one(read_json(job.data / "train.json", "annotation file"), job.output)
    shutil.rmtree(job.output / name, ignore_errors=True)
    fixed = {
        "MODEL": job.model, "IMGSZ": job.side, "SEED": job.seed, "WORKERS": 0, "DEVICE": "cpu", "INIT": "scratch",
        "COCO_ROOT": job.data / "images", "TRAIN_ANN": annotations, "VAL_ANN": one,
        "OUTPUT": job.output, "EXP": name, **flags, **job.options,
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "train_pose.py"), "--SAVE"]
    command += [text for flag, value in fixed.items() for text in (f"-{flag}", str(value))]
    command += ["--RESUME", str(job.start)] if job.start else []
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return job.output / name


def read_rows(run: Path) -> list[dict[str, str]]:
    """results.csv: one row an epoch."""
    with (run / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def kept_weights(run: Path, batch: int) -> list[Checkpoint]:
    """Weights of the evaluated epochs, with the seconds of their rows."""
    found = []
    for row in read_rows(run):
        file = run / "weights" / f"epoch-{int(row['epoch']):03d}.pt"
        if file.is_file():
            found.append(Checkpoint(str(file), float(row["seconds"]), int(row["step"]) * batch))
    return found


def count_parameters(weights: Path) -> int:
    """Of the model in a weights file."""
    return Predictor.load(weights, "cpu").runtime.description.parameters


if __name__ == "__main__":
    sys.exit(main(Sia()))
