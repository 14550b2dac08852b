"""Every flag is declared by exactly the stages that read it, or is free: a stage is asked what it reads as it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from datasets.synthetic import write_dataset
from sia.coco.coco_files import check_results, load_ground_truth
from sia.evaluation.predictions import people_of_rows, read_predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.pipeline.fitted import load_stage
from stages.ssl import stage as ssl
from stages.ssl.thresholds import ConfidenceThresholds, Gates
from stages.stage import Images, StageInput
from stages.training import visualizer
from tests.inference_helpers import save_weights
from tests.stages.pose_helpers import stage_input
from utils.config.declaration import STAGES
from utils.config.train_config import TrainConfig, flag_fields

NAMES = frozenset(entry.name for entry in fields(TrainConfig))
COPIES = ("dataclasses", "copy", "utils.config.train_config", "utils.config.checks")
"""Modules that pass all fields on, whatever the stage."""

ELSEWHERE = frozenset({"output", "exp", "time", "certainty_only", "freeze_roi", "pipeline", "stage"})
"""Of plain trainings, or of the runner."""

UNUSED = {"ssl": {"backbone", "plain_epochs", "model", "size", "imgsz", "init", "epoch", "patience"}}
"""Fields that `ssl` overrides, or takes from the weights that it starts from."""

read: set[str] = set()


class Recording(TrainConfig):
    """Notes which fields are read, by whomever they are."""

    def __getattribute__(self, name: str) -> Any:
        if name in NAMES and sys._getframe(1).f_globals["__name__"] not in COPIES:
            read.add(name)
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 60, 1, 64, 0, 0)
    save_weights(folder / "model.pt")
    content = json.loads((folder / "train.json").read_text())
    for name, entries in (("fit", content["images"][:20]), ("calibrate", content["images"][20:54])):
        ids = {image["id"] for image in entries}
        rows = [row for row in content["annotations"] if row["image_id"] in ids]
        (folder / f"{name}.json").write_text(json.dumps({**content, "images": entries, "annotations": rows}))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is drawn in the training, and a model with random weights is believed."""
    everything = ConfidenceThresholds(0.0, 0.0, 1.0, 1, 1)
    monkeypatch.setattr(visualizer.TrainingVisualizer, "epoch", lambda *_: None)
    monkeypatch.setattr(visualizer.TrainingVisualizer, "training_batch", lambda *_: None)
    monkeypatch.setattr(ssl, "training_batch_image", lambda *_, **__: None)
    monkeypatch.setattr(ssl, "choose_thresholds", lambda *_: Gates(everything, everything, 0.0))
    read.clear()
    yield


def make_work(people: Path, folder: Path, name: str) -> StageInput:
    splits = {"fit": people / "fit.json", "calibrate": people / "calibrate.json"}
    config = Recording(
        "sia_pose_simple", people / "images" / "train", splits["fit"], splits["calibrate"], size="test",
        imgsz=(64, 64), bs=4, workers=0, device="cpu", epoch=1, ssl_epoch=1, refinement_steps=1, prior_steps=1,
        precision="fp32", unlabelled=(str(people / "images" / "train"),), tta="none", scale_min=0.9, scale_max=1.1,
    )  # fmt: skip
    work = stage_input(folder / name, config, splits, None, people / "model.pt")
    if name in ("baseline", "ssl"):
        return work
    truth = load_ground_truth(splits["calibrate"], COCO_PERSON)
    labelled = [row for row in truth.people if row["num_keypoints"]]
    rows = [{**row, "score": 0.5, "category_id": truth.category} for row in labelled]
    people_of_rows(check_results(rows, truth, COCO_PERSON), 17).save(folder / "results.json", truth.category)
    return replace(work, results=folder / "results.json")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_what_it_reads(name: str, people: Path, tmp_path: Path) -> None:
    work, stage = make_work(people, tmp_path, name), load_stage(name)
    read.clear()
    made = stage.fit(work)
    stage.files(work.config)
    stage.images(work.config)
    if stage.show is not None:
        data = work.data("calibrate")
        found = read_predictions(
            tmp_path / "results.json", load_ground_truth(work.splits["calibrate"], COCO_PERSON), COCO_PERSON
        )
        assert made.fitted is not None
        stage.show(work, made, made.fitted.apply(found, Images.of_split(data)), data)
    free = {entry.name for entry in flag_fields() if entry.metadata["free"]}
    assert sorted(read - free - ELSEWHERE - UNUSED.get(name, set())) == sorted(stage.fields)


def test_every_flag_is_somebody_s_or_free() -> None:
    declared = {field for name in STAGES for field in load_stage(name).fields}
    left = {entry.name for entry in flag_fields() if not entry.metadata["free"]} - declared
    assert left == {
        "output",
        "exp",
        "time",
        "certainty_only",
        "freeze_roi",
        "calibrate",
    }  # of plain trainings; the runner keeps splits as they are
    assert not declared - NAMES
