"""Stage 1 as part of a pipeline: a model trained on ``fit``, its epochs chosen on ``calibrate``.

Results of another program can stand in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sia.coco.coco_files import load_ground_truth, load_skeleton, read_json, read_skeleton
from sia.errors import DataError
from sia.evaluation.predictions import Array, Predictions, read_predictions
from sia.io.checkpoint import load_checkpoint
from sia.io.npz_file import Wanted, read_npz
from sia.io.output_file import complete_file
from sia.runtimes.predictor import Predictor
from stages.stage import (
    Images,
    Stage,
    StageFit,
    StageInput,
    StageInterrupted,
    Surroundings,
    apply_together,
    copy_file,
    find_people,
)
from stages.training import train as training
from stages.training.initialization import Start
from utils.config.train_config import TrainConfig
from utils.run_folder import saved_run

WEIGHTS = "model.pt"
TRAINING = (
    "roi_size", "roi_trunk", "bs", "accum", "freeze_epochs", "lr", "optimizer", "warmup", "wd", "clip", "llrd", "ema",
    "lora", "mosaic", "rotate", "scale_min", "scale_max", "shift", "flip", "colour", "precision", "recompute",
    "compile", "seed",
)  # fmt: skip
"""Fields that decide the result of every training."""
_REMEDY = "Run the stage baseline again."
_ARRAYS = {
    "image_ids": Wanted("i", ("N",)), "boxes": Wanted("f", ("N", 4)), "scores": Wanted("f", ("N",)),
    "keypoints": Wanted("f", ("N", "K", 2)), "confidences": Wanted("f", ("N", "K")),
    "variances": Wanted("f", ("N", "K")),
}  # fmt: skip


@dataclass(frozen=True)
class FittedModel:
    """A model that finds people.

    Attributes:
        weights: its file.
        device: where it runs.
        batch_size: images at once.
    """

    weights: Path
    device: str
    batch_size: int

    @cached_property
    def predictor(self) -> Predictor:
        """The model, opened when it is first asked for."""
        return Predictor.load(self.weights, self.device)

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """See `Fitted`."""
        return find_people(self.predictor, images, self.batch_size)

    def save(self, folder: Path) -> None:
        """See `Fitted`."""
        copy_file(self.weights, folder / WEIGHTS)


@dataclass(frozen=True)
class FittedResults:
    """What another program has found: it knows its own images only."""

    people: Predictions

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """See `Fitted`."""
        return self.people.of_images(images.ids)

    def save(self, folder: Path) -> None:
        """See `Fitted`."""
        with complete_file(folder / "results.npz") as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **vars(self.people))


def load(folder: Path, around: Surroundings) -> FittedModel | FittedResults:
    """The model, or the results that stand in for it.

    Raises:
        DataError: neither is there.
    """
    if (folder / WEIGHTS).is_file():
        return FittedModel(folder / WEIGHTS, around.device, around.batch_size)
    columns: dict[str, Array] = read_npz(folder / "results.npz", _ARRAYS, "file of results", _REMEDY)
    return FittedResults(Predictions(**columns))  # type: ignore[arg-type]


def fit(work: StageInput) -> StageFit:
    """Trains, or takes what there is of an earlier call; an interrupted training goes on.

    Raises:
        StageInterrupted: a signal came; everything is saved.
        SiaError: images, weights or results that can't be used.
    """
    if work.config.results_test is not None:
        return _take_results(work)
    begun = saved_run(work.folder, "training")
    config = replace(
        work.config, stage="baseline", pipeline=None, config_file=None, results_calibrate=None, results_test=None,
        force_stage=(), train_ann=work.splits["fit"], val_ann=work.splits["calibrate"], output=work.folder,
        exp="training", resume=begun.last if begun is not None else work.config.resume,
    )  # fmt: skip
    number = training.run(config, replace(_start(config), argv=work.argv))
    if number:
        raise StageInterrupted(number)
    folder = saved_run(work.folder, "training")
    assert folder is not None
    images = [folder.path / name for name in ("results.png", "val_labels_predictions.jpg")]
    fitted, people = model_of(work, folder.best)
    return StageFit(fitted, people, images=[path for path in images if path.is_file()])


def model_of(work: StageInput, weights: Path) -> tuple[FittedModel, Predictions]:
    """A model, and whom it finds in ``calibrate``; all ranks share the images.

    Raises:
        SiaError: weights or images that can't be used.
    """
    fitted = FittedModel(weights, work.config.device, work.config.bs)
    skeleton = load_skeleton(work.splits["calibrate"])
    images = Images.of_split(work.data("calibrate", skeleton))
    return fitted, apply_together(fitted, Predictions.nobody(skeleton.num_keypoints), images, work.ranks)


def _start(config: TrainConfig) -> Start:
    checkpoint = load_checkpoint(config.resume) if config.resume is not None else None
    if checkpoint is not None and config.resume is not None and not config.resume.is_relative_to(config.output):
        checkpoint = {key: value for key, value in checkpoint.items() if key != "training"}  # only its weights
    return Start(checkpoint)


def _take_results(work: StageInput) -> StageFit:
    """Copies the results of another program; those of images that are in another split are left out.

    Raises:
        DataError: they are no results of these annotations.
    """
    config = work.config
    assert config.results_calibrate is not None
    assert config.results_test is not None
    calibrate, test = (
        _read_results(source, annotations)
        for source, annotations in ((config.results_calibrate, config.train_ann), (config.results_test, config.val_ann))
    )
    images = load_ground_truth(work.splits["calibrate"], load_skeleton(work.splits["calibrate"])).images
    figures = {"calibrate": f"{config.results_calibrate}", "test": f"{config.results_test}"}
    return StageFit(FittedResults(test), calibrate.of_images(images), figures=figures)


def _read_results(source: Path, annotations: Path) -> Predictions:
    content = read_json(annotations, "annotation file")
    skeleton = read_skeleton(content, str(annotations))
    people = read_predictions(source, load_ground_truth(content, skeleton, labelled=False), skeleton)
    if len(people) and not 0 <= people.scores.min() <= people.scores.max() <= 1:
        spread = f"{people.scores.min():g} to {people.scores.max():g}"
        raise DataError(f"{source}: scores go from {spread}. Scale them to 0 to 1.")
    return people


def _files(config: TrainConfig) -> Sequence[Path]:
    if config.results_calibrate is not None and config.results_test is not None:
        return config.results_calibrate, config.results_test
    return (config.resume,) if config.resume is not None else ()


STAGE = Stage(
    fit,
    load,
    fields=("model", "size", "backbone", "init", "imgsz", "epoch", "patience", "plain_epochs", *TRAINING),
    files=_files,
)
