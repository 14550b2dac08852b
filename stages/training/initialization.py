"""What a training starts from: a run to continue, weights, or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from datasets.coco.coco_pose import CocoPose, mean_pose
from sia.backbones.pretrained_weights import resize_positions
from sia.io.bundled_weights import bundled_start
from sia.io.checkpoint import load_checkpoint
from sia.io.weights import check_described, load_weights, resize_squares, shared_weights
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model, model_class, read_description
from sia.skeletons.skeleton import Skeleton
from stages.training.pretrained import Pretrained, load_pretrained
from stages.training.state import SavedTraining, read_training
from utils.config.train_config import TrainConfig


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        checkpoint: the content of --RESUME, or of the bundled weights, if any.
        changes: flags that differ from the resumed run, as lines.
        argv: the command line, for the record.
        source: where the weights are from, or why there are none.
        began: when the command was started, in seconds of `time.monotonic`.
    """

    checkpoint: Mapping[str, Any] | None = None
    changes: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    source: str = ""
    began: float = field(default_factory=time.monotonic)

    @cached_property
    def training(self) -> SavedTraining | None:
        """The state of the run to continue, or None for a new run.

        Raises:
            WeightsError: no run can have saved it.
        """
        if self.checkpoint is None or "training" not in self.checkpoint:
            return None
        return read_training(self.checkpoint, self.source or "The checkpoint")


def find_start(config: TrainConfig, start: Start, train: CocoPose) -> Start:
    """Completes a start: what is not continued, and has no weights of its own, may take those that come along."""
    if start.checkpoint is not None:
        return replace(start, source=f"{config.resume}")
    if config.backbone is not None:
        return start
    if config.init == "scratch":
        return replace(start, source="random (-INIT scratch)")
    path, reason = bundled_start(config.model, config.size, len(train))
    return replace(start, checkpoint=None if path is None else load_checkpoint(path), source=reason)


def describe_model(config: TrainConfig, train: CocoPose, start: Start) -> tuple[ModelConfig, Pretrained]:
    """What to build and with which weights; a checkpoint brings what its weights expect: mean pose and squares."""
    model = _own_model(config, train)
    if start.checkpoint is None:
        pretrained = Pretrained(source=start.source) if config.backbone is None else load_pretrained(config.backbone)
        return replace(model, backbone=pretrained.architecture), pretrained
    saved, skeleton = read_description(start.checkpoint, start.source)
    check_described(saved, start.checkpoint["weights"], start.source)
    model = replace(model, backbone=saved.backbone)
    if skeleton.names == train.skeleton.names:
        model = replace(model, mean_pose=saved.mean_pose)
    if config.roi_size is None and config.size == saved.size:
        model = replace(model, roi_size=saved.roi_size)
    before = start.training.pretrained if start.training is not None else None
    trained = before.is_trained if before is not None else True
    whole = before.is_whole if before is not None else _same_head(saved.name, config.model)
    other = _difference(saved, skeleton, config, train.skeleton)
    source = "; ".join([start.source, *other, *_new_squares(saved, model)])
    return model, Pretrained(saved.backbone, None, source, trained, whole, not other)


def _own_model(config: TrainConfig, train: CocoPose) -> ModelConfig:
    """What the flags and the annotations say."""
    return ModelConfig(
        name=config.model,
        size=config.size,
        num_keypoints=train.skeleton.num_keypoints,
        image_size=config.imgsz,
        mean_pose=tuple((float(x), float(y)) for x, y in mean_pose(train)),
        sigmas=train.skeleton.sigmas,
        roi_size=config.roi_size,
    )


def _same_head(saved: str, wanted: str) -> bool:
    """Whether one variant is the other, or the other with more behind it."""
    first, second = model_class(saved), model_class(wanted)
    return issubclass(first, second) or issubclass(second, first)


def _difference(saved: ModelConfig, saved_skeleton: Skeleton, config: TrainConfig, skeleton: Skeleton) -> list[str]:
    """What says that only a part of the weights is taken over; nothing where all are."""
    variant = [] if saved.name == config.model else [f"of {saved.name}"]
    keypoints = [] if saved_skeleton.names == skeleton.names else [f"of other keypoints ({saved.num_keypoints})"]
    return [f"{' and '.join(variant + keypoints)}: what fits is taken over"] if variant or keypoints else []


def _new_squares(saved: ModelConfig, model: ModelConfig) -> list[str]:
    """What says that people are looked at in other squares than the weights know."""
    before, now = saved.head_config.roi_size, model.head_config.roi_size
    return [] if before == now else [f"looks at people in squares of {now} px, not {before}"]


def build_model(model_config: ModelConfig, pretrained: Pretrained, start: Start) -> PoseModel:
    """The model with its start weights.

    Raises:
        WeightsError: weights that don't fit; the message names the keys.
    """
    model = create_model(model_config, pretrained.weights)
    if start.checkpoint is not None:
        weights = start.checkpoint.get("weights")
        if isinstance(weights, Mapping):
            saved, _ = read_description(start.checkpoint, start.source)
            weights = resize_positions(weights, model.backbone)
            weights = resize_squares(weights, model) if _new_squares(saved, model_config) else weights
        if not pretrained.is_complete:
            weights = shared_weights(model, weights)
        load_weights(model, weights, start.source, "Use the -SIZE it was trained with.")
    return model
