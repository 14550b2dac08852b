"""What a training starts from: a run to continue, weights, or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch

from datasets.coco.coco_pose import CocoPose, mean_pose
from sia.backbones.pretrained_weights import architecture_of, resize_positions
from sia.commands.values import format_size
from sia.errors import WeightsError, first_line
from sia.io.bundled_weights import bundled_start
from sia.io.checkpoint import load_checkpoint, read_state_dict
from sia.io.input_file import check_input_file
from sia.io.weights import ACROSS, CERTAINTY, check_described, fit_parts, load_weights, shared_weights
from sia.model import PoseModel
from sia.modules.conv_pyramid import TRIED, ConvPyramid, ConvTrunk, load_trunk_weights
from sia.registry import ModelConfig, create_model, model_class, read_description
from stages.training.state import SavedTraining, read_training
from utils.config.train_config import TrainConfig
from utils.model_files import check_unchanged


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


@dataclass(frozen=True)
class Pretrained:
    """The weights that a model starts from.

    Attributes:
        architecture: the backbone's name for the registry; None for the size's own.
        weights: a state dict, or None for random weights.
        source: what it is, for the start block.
        is_trained: whether a training stands behind the weights.
        is_whole: whether they are those of a whole model with the same head, not of its backbone alone.
        is_complete: whether every weight has to fit: that model is of the same variant, the same keypoints and the same
            network in its RoI keypoint head.
        has_trunk: whether the run began with pretrained weights of that network, beside the others.
        trunk: those weights; None where they are loaded.
    """

    architecture: str | None = None
    weights: Mapping[str, Any] | None = None
    source: str = "random"
    is_trained: bool = False
    is_whole: bool = False
    is_complete: bool = True
    has_trunk: bool = False
    trunk: Mapping[str, Any] | None = None


def check_roi_trunk(trunk: str, size: tuple[int, int] | None) -> None:
    """Whether there is such a network, and the file; nothing is loaded.

    Args:
        trunk: of -ROI_TRUNK.
        size: of -ROI_SIZE, if it is given.

    Raises:
        ConfigError: no such network, one without the maps that are needed, or one that can't read crops of this size.
        WeightsError: no such file.
    """
    name, _, file = trunk.partition(":")
    with torch.device("meta"):
        ConvTrunk(name, size or (TRIED, TRIED))
    if file:
        check_input_file(Path(file), "Check -ROI_TRUNK.", WeightsError)


def load_roi_trunk(trunk: str) -> tuple[str, Mapping[str, Any]]:
    """What -ROI_TRUNK asks for: the name of a network of timm, and its weights.

    Raises:
        ConfigError: no such network, or one without the maps that are needed.
        WeightsError: a file that can't be used, or weights that can't be downloaded.
    """
    check_roi_trunk(trunk, None)
    name, _, file = trunk.partition(":")
    if not file:
        return name, _from_timm(name, "-ROI_TRUNK")
    check_unchanged(Path(file))
    return name, read_state_dict(Path(file))


def _from_timm(name: str, flag: str) -> dict[str, Any]:
    try:
        return dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())
    except Exception as error:  # the download passes through three libraries, each with errors of its own
        raise WeightsError(
            f"The weights of {flag} {name} can't be had: {first_line(error)}. Check the network and the name's tag "
            "(timm.list_pretrained()), or give a file of weights."
        ) from error


def load_pretrained(backbone: str) -> Pretrained:
    """What -BACKBONE asks for: a file of weights, or a name of timm.

    Raises:
        WeightsError: a file that can't be used, or weights that can't be downloaded.
    """
    path = Path(backbone)
    if path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt") or path.exists():
        check_unchanged(path)
        weights = read_state_dict(path)
        architecture = architecture_of(weights)
        return Pretrained(architecture, weights, f"backbone from {path} ({architecture})", True)
    if not timm.is_model(backbone):
        return Pretrained(backbone)  # the registry answers with close names
    weights = _from_timm(backbone, "-BACKBONE")
    return Pretrained(backbone, weights, f"backbone {backbone}, pretrained, from timm", True)


def find_start(config: TrainConfig, start: Start, train: CocoPose) -> Start:
    """Completes a start: what is not continued, and has no weights of its own, may take the bundled ones."""
    if start.checkpoint is not None:
        return replace(start, source=f"{config.resume}")
    if config.backbone is not None:
        return start
    if config.init == "scratch":
        return replace(start, source="random (-INIT scratch)")
    path, reason = bundled_start(config.model, config.size, len(train))
    return replace(start, checkpoint=None if path is None else load_checkpoint(path), source=reason)


def describe_model(config: TrainConfig, train: CocoPose, start: Start) -> tuple[ModelConfig, Pretrained]:
    """What to build and with which weights; a checkpoint brings what its weights expect: mean pose and crops."""
    new_trunk = config.roi_trunk is not None and start.training is None
    trunk_name, trunk = load_roi_trunk(str(config.roi_trunk)) if new_trunk else (None, None)
    model = ModelConfig(
        name=config.model,
        size=config.size,
        num_keypoints=train.skeleton.num_keypoints,
        image_size=config.imgsz,
        mean_pose=tuple((float(x), float(y)) for x, y in mean_pose(train)),
        sigmas=train.skeleton.sigmas,
        roi_size=config.roi_size,
        roi_trunk=trunk_name,
        certainty=True,
    )
    if start.checkpoint is None:
        pretrained = Pretrained(source=start.source) if config.backbone is None else load_pretrained(config.backbone)
        return replace(model, backbone=pretrained.architecture), _with_trunk(pretrained, config.roi_trunk, trunk)
    saved, skeleton = read_description(start.checkpoint, start.source)
    check_described(saved, start.checkpoint["weights"], start.source)
    model = replace(model, backbone=saved.backbone)
    same_keypoints = skeleton.names == train.skeleton.names
    if same_keypoints:
        model = replace(model, mean_pose=saved.mean_pose)
    if config.size == saved.size:
        model = replace(model, roi_size=config.roi_size or saved.roi_size)
        model = replace(model, roi_trunk=trunk_name if new_trunk else saved.roi_trunk)
    source = [start.source]
    partly = [] if saved.name == config.model else [f"of {saved.name}"]
    partly += [] if same_keypoints else [f"of other keypoints ({saved.num_keypoints})"]
    same_trunk = saved.head_config.roi_trunk == model.head_config.roi_trunk
    trunk = None if same_trunk else trunk  # a network that has been trained on is not replaced by its first weights
    partly += [] if same_trunk else [f"with another reader of crops ({saved.head_config.roi_trunk or 'hourglass'})"]
    if partly:
        source.append(f"{' and '.join(partly)}: what fits is taken over")
    before, now = saved.head_config.roi_size, model.head_config.roi_size
    if before != now:
        source.append(f"reads crops of {format_size(now)} px, not {format_size(before)}")
    if start.training is not None:
        model = replace(model, certainty=saved.certainty)
        first = start.training.pretrained
        trained, whole, has_trunk = first.is_trained, first.is_whole, first.has_trunk
    else:  # one variant is the other, or the other with more behind it
        trained, has_trunk, classes = True, False, (model_class(saved.name), model_class(config.model))
        whole = issubclass(*classes) or issubclass(*reversed(classes))
    pretrained = Pretrained(saved.backbone, None, "; ".join(source), trained, whole, not partly, has_trunk)
    return model, _with_trunk(pretrained, config.roi_trunk, trunk)


def _with_trunk(pretrained: Pretrained, flag: str | None, weights: Mapping[str, Any] | None) -> Pretrained:
    """With the weights that -ROI_TRUNK brings, if there are any."""
    if weights is None:
        return pretrained
    name, _, file = str(flag).partition(":")
    source = f"{pretrained.source}; crops are read by {name}, pretrained, from {file or 'timm'}"
    return replace(pretrained, source=source, has_trunk=True, trunk=weights)


def build_model(model_config: ModelConfig, pretrained: Pretrained, start: Start) -> PoseModel:
    """The model with its start weights.

    Raises:
        WeightsError: weights that don't fit; the message names the keys.
    """
    model = create_model(model_config, pretrained.weights)
    if start.checkpoint is not None:
        _load_start(model, model_config, pretrained, start)
    if pretrained.trunk is not None:
        fill_roi_trunk(model, pretrained.trunk)
    return model


def fill_roi_trunk(model: PoseModel, weights: Mapping[str, Any]) -> None:
    """Gives the network that reads the crops its published weights, and the input it expects.

    Raises:
        WeightsError: they don't fit.
    """
    assert isinstance(model.roi_head.body, ConvPyramid)
    trunk = model.roi_head.body.trunk
    trunk.set_input(model.backbone.mean, model.backbone.std)
    load_trunk_weights(trunk, weights)


def _load_start(model: PoseModel, model_config: ModelConfig, pretrained: Pretrained, start: Start) -> None:
    assert start.checkpoint is not None
    weights = start.checkpoint.get("weights")
    if isinstance(weights, Mapping):
        saved, _ = read_description(start.checkpoint, start.source)
        weights = resize_positions(weights, model.backbone)
        if saved.head_config.roi_size != model_config.head_config.roi_size:
            weights = fit_parts(weights, model, ACROSS)
        if model_config.certainty and not saved.certainty:
            weights = fit_parts(weights, model, CERTAINTY)
    if not pretrained.is_complete:
        weights = shared_weights(model, weights)
    load_weights(model, weights, start.source, "Use the -SIZE it was trained with.")
