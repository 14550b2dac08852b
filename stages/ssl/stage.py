"""Stage 2: a student learns from labelled images, and from what its own average sees in unlabelled ones.

After Mean Teacher (arXiv 1703.01780), with the paths of MultiAugs (arXiv 2402.11566). The student is trained by the
trainer of stage 1; the teacher is the average of its weights. They never exchange queries: pseudo-labels are people in
the pixels of the image, warped into each view and matched like any others.
"""

from __future__ import annotations

import hashlib
import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import Struct, to_builtins

from datasets.loader import validation_loader
from datasets.unlabelled import Unlabelled, find_unlabelled, named_images, unlabelled_loader
from sia.commands.signals import SignalHandler
from sia.errors import WeightsError
from sia.io.checkpoint import load_checkpoint
from sia.io.output_file import write_json
from sia.io.stored import Count, checked, read_stored
from sia.registry import read_description
from sia.runtimes.torch_runtime import TorchRuntime
from stages.baseline import TRAINING, load, model_of
from stages.evaluator import on_first_rank
from stages.ssl.pseudo_batches import PseudoBatches
from stages.ssl.teacher import ask_all
from stages.ssl.thresholds import Gates, NoThresholdError, choose_thresholds, judge
from stages.stage import Stage, StageFit, StageInput, StageInterrupted
from stages.training.auto_config import make_plan
from stages.training.compilation import check_compiler
from stages.training.console import announce
from stages.training.data import Data, load_data
from stages.training.initialization import Start, build_model, describe_model
from stages.training.state import seed_everything
from stages.training.train import assemble, prepare
from stages.training.trainer import Trainer
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext
from utils.ema import skip_warm_up
from utils.plots import training_batch_image
from utils.run_folder import saved_run

PATIENCE = 3
"""Epochs without a new best AP of the calibration images after which the best weights are taken."""


@dataclass(frozen=True)
class Material:
    """What a run is made of.

    Attributes:
        config: of the training; its --RESUME names the weights, or the training to go on with.
        start: their content.
        data: labelled images to train on, and to watch.
        images: unlabelled ones.
        weights: of the first teacher.
    """

    config: TrainConfig
    start: Start
    data: Data
    images: Unlabelled
    weights: Path


class _Found(Struct):
    """What was found before the first step: the schema of start.json."""

    AP: float
    thresholds: Gates


class _Best(Struct):
    """What best.pt says of its epoch; 0 for the weights that the run started from."""

    epoch: Count


def fit(work: StageInput) -> StageFit:
    """Trains a student, unless there is nothing to learn from or the teacher is too unsure.

    A training that was stopped goes on exactly, if its input is the same (see `_name`).

    Raises:
        StageInterrupted: a signal came; everything is saved.
        SiaError: images, annotations or weights that can't be used.
    """
    if work.weights is None:
        return StageFit(declined="there are no weights of SIA Pose to start from")
    material = _gather(work, work.weights)
    if not len(material.images):
        reason = "there are no unlabelled images (-UNLABELLED), and nobody in the labelled ones lacks keypoints"
        return StageFit(declined=reason)
    try:
        trainer, source, found = _prepare(material, work.ranks)
    except NoThresholdError as error:
        return StageFit(declined=str(error))
    _train(trainer, source)
    trainer.parts.progress.say(source.describe())
    return _conclude(work, material, trainer, found)


def _gather(work: StageInput, weights: Path) -> Material:
    """Reads everything; all ranks fail together."""
    seed_everything(work.config.seed)
    ranks = work.ranks
    with ranks.shared_errors():
        if work.config.compile:
            check_compiler(ranks.device.torch)
        checkpoint = load_checkpoint(weights)
        model, _ = read_description(checkpoint, weights)
        config = replace(
            work.config, model=model.name, size=model.size, imgsz=model.image_size, backbone=None,
            train_ann=work.splits["fit"], val_ann=work.splits["calibrate"],
            epoch=work.config.ssl_epoch, patience=PATIENCE, eval_every=1, plain_epochs=None, freeze_epochs=None,
            output=work.folder, resume=weights,
        )  # fmt: skip
        data = load_data(config, ranks)
        images = find_unlabelled(config.unlabelled, data.train, (*data.val.files, *work.held_out))
        config = replace(config, exp=_name(config, weights, images, ranks))
    begun = ranks.from_main(saved_run(config.output, str(config.exp)))  # by an earlier call with the same input
    if begun is not None:
        config, checkpoint = replace(config, resume=begun.last), load_checkpoint(begun.last)
    else:
        checkpoint = {key: value for key, value in checkpoint.items() if key != "training"}
    return Material(config, Start(checkpoint, source=f"{config.resume}", argv=work.argv), data, images, weights)


def _name(config: TrainConfig, weights: Path, images: Unlabelled, ranks: DistributedContext) -> str:
    """Of the run's folder: another one as soon as anything differs that the result depends on."""
    values = config.to_dict()
    flags = {name: values[name] for name in STAGE.fields}
    content = hashlib.sha256(json.dumps([flags, ranks.world_size, [file.name for file in images.files]]).encode())
    for path in (weights, config.train_ann, config.val_ann):
        content.update(path.read_bytes())
    return f"training-{content.hexdigest()[:8]}"


def _prepare(material: Material, ranks: DistributedContext) -> tuple[Trainer, PseudoBatches, _Found]:
    """The trainer with its second source, and what was found before the first step."""
    config, start, data = material.config, material.start, material.data
    thresholds = on_first_rank(lambda: _gates(material)) if start.training is None else None
    with ranks.shared_errors():
        model_config, pretrained = describe_model(config, data.train, start)
        model = build_model(model_config, pretrained, start)
        plan = make_plan(config, ranks, len(data.training), data.workers, pretrained)
    seed_everything(config.seed + ranks.rank)
    prepare(model, config, plan, ranks)
    parts = assemble(config, plan, ranks, data, model, model_config, pretrained, start)
    note = parts.folder.path / "start.json"
    anew = f"Delete the folder {parts.folder.path}: it is trained again."
    before = (
        None if thresholds is not None else on_first_rank(lambda: read_stored(note, _Found, "notes of the run", anew))
    )
    thresholds = before.thresholds if before is not None else thresholds
    assert thresholds is not None
    source = PseudoBatches(
        unlabelled_loader(
            material.images, paths=config.ssl_augmentations, image_size=config.imgsz, batch_size=config.bs,
            workers=data.workers, seed=config.seed, rank=ranks.rank, world_size=ranks.world_size,
        ),
        parts.state.ema.module, thresholds, data.train.skeleton, config.ssl_augmentations,
        device=ranks.device.torch, dtype=plan.dtype, highest=config.ssl_weight,
        ramp=round(config.ssl_ramp * plan.total_steps),
    )  # fmt: skip
    parts.unlabelled = source
    trainer = Trainer(parts)
    if ranks.is_main:
        announce(parts, data, pretrained, start)
        parts.progress.say(_describe(material, source))
    return trainer, source, before or _begin(trainer, source, thresholds, note)


def _gates(material: Material) -> Gates:
    """Chooses the gates on the calibration images, with the weights that the run starts from."""
    runtime = TorchRuntime.load(material.weights, material.config.device)
    val, skeleton = material.data.val, material.data.val.skeleton
    loader = validation_loader(
        val, image_size=material.config.imgsz, batch_size=material.config.bs, workers=material.data.workers
    )
    opinions = ask_all(runtime.find, loader, skeleton)
    loader.close()
    sigmas = np.array(skeleton.sigmas)
    verdicts = [judge(opinion, val.annotation(i), sigmas) for i, opinion in enumerate(opinions)]
    return choose_thresholds(opinions, verdicts, material.config.pseudo_precision)


def _begin(trainer: Trainer, source: PseudoBatches, thresholds: Gates, note: Path) -> _Found:
    """Measures the start, notes it, and draws the first unlabelled batch."""
    skip_warm_up(trainer.state.ema)
    trainer.measure_start()
    found = _Found(trainer.cursor.best, thresholds)
    with trainer.ranks.shared_errors():
        if trainer.ranks.is_main:
            write_json(note, to_builtins(found), indent=2)
            image = note.with_name("pseudo_labels.jpg")
            batch = source.batch(0)
            training_batch_image(batch, trainer.parts.skeleton, image, most=len(batch.images))
    trainer.save()
    return found


def _describe(material: Material, source: PseudoBatches) -> str:
    images, person, joint = material.images, source.thresholds.person, source.thresholds.joint
    rows = (
        ("unlabelled", f"{len(images)} images, {len(images.known)} of them partly labelled; {images.held_out} "
                       "left out, because they are labelled or held out"),
        ("people", f"pass from score {person.score:.2f} and agreement {person.agreement:g} on: {person.passed} of "
                   f"{person.tried} in the calibration images, {100 * person.precision:.0f} % of them right"),
        ("joints", f"pass from confidence {joint.score:.2f} and agreement {joint.agreement:g} on: {joint.passed} of "
                   f"{joint.tried} of these people, {100 * joint.precision:.0f} % of them right"),
        ("doubtful", f"others from score {source.thresholds.doubt:.2f} on are ignored regions"),
    )  # fmt: skip
    return "\n".join(f"{label:<14}{text}" for label, text in rows)


def _train(trainer: Trainer, source: PseudoBatches) -> None:
    """To the last epoch, or until AP falls; a signal is obeyed when all is saved."""
    try:
        with SignalHandler() as interruption:
            number = trainer.run(interruption)
    finally:
        source.loader.close()
        trainer.parts.close()
    if number:
        trainer.parts.progress.say(f"Stopped by {signal.Signals(number).name}; all is saved, the same command goes on.")
        raise StageInterrupted(number)


def _conclude(work: StageInput, material: Material, trainer: Trainer, found: _Found) -> StageFit:
    """Takes the best weights, and predicts with them."""
    folder, cursor = trainer.parts.folder, trainer.cursor
    anew = f"Delete the folder {folder.path}: it is trained again."
    metrics = load_checkpoint(folder.best).get("metrics")
    best: _Best = checked(metrics, _Best, f"{folder.best} has no metrics of its run", anew, WeightsError)
    figures = {
        "unlabelled images": len(material.images),
        "of them partly labelled": len(material.images.known),
        "AP on calibrate before": found.AP,
        "AP on calibrate after": cursor.best,
        "epochs": cursor.epoch,
        "best epoch": best.epoch,
        "gates": found.thresholds.to_dict(),
    }
    drawn = [folder.path / name for name in ("results.png", "pseudo_labels.jpg", "val_labels_predictions.jpg")]
    images = [path for path in drawn if path.is_file()]
    if best.epoch == 0:
        reason = f"in {cursor.epoch} epochs AP on the calibration images never rose above {100 * found.AP:.2f}"
        return StageFit(declined=reason, figures=figures, images=images)
    return StageFit(*model_of(work, folder.best), figures=figures, images=images)


STAGE = Stage(
    fit, load,
    fields=(
        "unlabelled", "ssl_epoch", "ssl_augmentations", "pseudo_precision", "ssl_weight", "ssl_ramp", *TRAINING,
    ),
    images=lambda config: named_images(config.unlabelled, warn=lambda line: None),
)  # fmt: skip
