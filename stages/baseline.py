"""Stage 1 as part of a pipeline: trains on ``fit``, validates on ``calibrate``, predicts ``calibrate`` and ``test``.

Results of another program can stand in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.loader import validation_loader
from sia.coco.coco_files import load_ground_truth, read_json, read_skeleton
from sia.io.checkpoint import load_checkpoint
from sia.runtimes.predictor import Predictor
from stages.evaluation.evaluator import write_results
from stages.stage import PARTS, StageResult, StageWork
from stages.training import train as baseline
from stages.training.initialization import Start
from utils.config.train_config import TrainConfig
from utils.metrics.predictions import read_predictions
from utils.run_folder import RunFolder


def training_config(work: StageWork) -> TrainConfig | None:
    """The flags of the training in the stage's folder, which an interrupted one goes on with; None if there is none."""
    if work.config.results_test is not None:
        return None
    begun = _training(work.folder)
    return replace(
        work.config, stage="baseline", pipeline=None, config_file=None, results_calibrate=None, results_test=None,
        force_stage=(), train_ann=work.parts["fit"], val_ann=work.parts["calibrate"], output=work.folder,
        exp="training", resume=begun.last if begun is not None else work.config.resume,
    )  # fmt: skip


def train(config: TrainConfig, argv: Sequence[str]) -> int:
    """Trains, on all ranks; the arguments and errors are those of `baseline.run`."""
    checkpoint = load_checkpoint(config.resume) if config.resume is not None else None
    if checkpoint is not None and config.resume is not None and not config.resume.is_relative_to(config.output):
        checkpoint = {key: value for key, value in checkpoint.items() if key != "training"}  # only its weights
    return baseline.run(config, Start(checkpoint, (), tuple(argv)))


def run(work: StageWork) -> StageResult:
    """Predictions of the trained model, all candidates however low their score.

    Raises:
        SiaError: images, weights or results that can't be used.
    """
    if work.config.results_test is not None:
        return _take_results(work)
    folder = _training(work.folder)
    assert folder is not None, "train() comes first"
    after = {part: work.folder / f"{part}.json" for part in PARTS[1:]}
    for part, path in after.items():
        write_predictions(folder.best, work, part, path)
    images = [folder.path / name for name in ("results.png", "val_labels_predictions.jpg")]
    return StageResult(after, folder.best, images=[path for path in images if path.is_file()])


def write_predictions(weights: Path, work: StageWork, part: str, path: Path) -> None:
    """What a model finds in the images of a part, as a results file.

    Raises:
        SiaError: weights or images that can't be used, or a file that can't be written.
    """
    predictor = Predictor.load(weights, work.config.device)
    annotations, skeleton = work.parts[part], predictor.skeleton
    loader = validation_loader(
        work.images(part, skeleton), image_size=predictor.image_size,
        batch_size=work.config.bs, workers=work.config.workers or 0,
    )  # fmt: skip
    write_results(predictor.runtime.find, loader, annotations, skeleton, path)


def _training(folder: Path) -> RunFolder | None:
    """The one training that has saved something."""
    saved = sorted(folder.glob("training*/weights/last.pt"))
    return RunFolder(saved[0].parent.parent) if saved else None


def _take_results(work: StageWork) -> StageResult:
    """Copies the results of another program; those of images that are in another part are left out.

    Raises:
        DataError: they are no results of these annotations.
    """
    given = {"calibrate": work.config.results_calibrate, "test": work.config.results_test}
    after = {part: work.folder / f"{part}.json" for part in given}
    for part, source in given.items():
        assert source is not None
        content = read_json(work.parts[part], "annotation file")
        skeleton = read_skeleton(content, str(work.parts[part]))
        whole = read_json(work.config.val_ann if part == "test" else work.config.train_ann, "annotation file")
        people = read_predictions(source, load_ground_truth(whole, skeleton), skeleton)
        truth = load_ground_truth(content, skeleton)
        wanted = np.isin(people.image_ids, truth.images)
        people.select(wanted).save(after[part], truth.category)
    return StageResult(after, figures={part: f"{source}" for part, source in given.items()})
