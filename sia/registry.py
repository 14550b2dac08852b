"""The one place where models are named and built."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from sia.backbones.build import SIZES, build_backbone
from sia.backbones.pretrained_weights import load_backbone_weights
from sia.commands.values import SIDES
from sia.errors import ConfigError
from sia.io.first_edition import rename_fields
from sia.io.stored import Finite
from sia.model import HeadConfig, PoseModel
from sia.sia_pose import SiaPose
from sia.sia_pose_decoder_led import SiaPoseDecoderLed
from sia.sia_pose_simple import SiaPoseSimple
from sia.sia_vision import Backbone

MODELS: dict[str, type[SiaPoseSimple] | type[SiaPoseDecoderLed]] = {
    "sia_pose_simple": SiaPoseSimple,
    "sia_pose": SiaPose,
    "sia_pose_decoder_led": SiaPoseDecoderLed,
}

HEAD_CONFIGS: dict[str, HeadConfig] = {
    "p32": HeadConfig(groups=1, token_blocks=2, hidden_dim=64, layers=2, roi_channels=32, roi_size=64),
    "n16": HeadConfig(groups=1, token_blocks=2, hidden_dim=96, layers=2),
    "n32": HeadConfig(groups=1, token_blocks=2, hidden_dim=96, layers=2, roi_size=64),
    "ti16": HeadConfig(hidden_dim=128, layers=2),
    "s16": HeadConfig(),
    "b16": HeadConfig(),
    "l14": HeadConfig(hidden_dim=384),
    "test": HeadConfig(tokens=8, token_blocks=2, hidden_dim=32, layers=1, people=4, roi_channels=8, roi_size=64),
}

ROI_SIZES = 32, 512
"""Least and most pixels along a crop of the RoI keypoint head."""

FIRST_ROI_SIZE = 64
"""That of weights saved before it could be chosen."""

MOST_KEYPOINTS = 4096
"""Of one model: no skeleton has nearly as many."""

Side = Annotated[int, Meta(ge=1, le=SIDES[1])]


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a model again; it travels in every checkpoint.

    Attributes:
        name: a key of `MODELS`.
        size: a key of `SIZES`; with a backbone of another width it still sets tokens, groups and decoder.
        num_keypoints: K.
        image_size: (height, width) in pixels that the model was trained at.
        mean_pose: K rows of x, y relative to the box: (keypoint - centre) / (width, height).
        sigmas: K OKS constants.
        backbone: a timm name, or None for the size's own.
        roi_size: pixels along the crops of the RoI keypoint head, or None for the size's own.
    """

    name: str
    size: str
    num_keypoints: Annotated[int, Meta(ge=1, le=MOST_KEYPOINTS)]
    image_size: tuple[Side, Side]
    mean_pose: tuple[tuple[Finite, Finite], ...]
    sigmas: tuple[Finite, ...]
    backbone: Annotated[str, Meta(max_length=200)] | None = None
    roi_size: int | None = None

    def __post_init__(self) -> None:
        _check_known("model", self.name, list(MODELS))
        _check_known("size", self.size, list(SIZES))
        lengths = (len(self.mean_pose), len(self.sigmas))
        if lengths != (self.num_keypoints, self.num_keypoints):
            raise ConfigError(
                f"A model of {self.num_keypoints} keypoints needs as many mean positions and sigmas, got {lengths}."
            )
        if self.roi_size is not None and (self.roi_size % 16 or not ROI_SIZES[0] <= self.roi_size <= ROI_SIZES[1]):
            raise ConfigError(
                f"Crops of {self.roi_size} px can't be had: choose a multiple of 16 between {ROI_SIZES[0]} and "
                f"{ROI_SIZES[1]} (-ROI_SIZE)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; the RoI size is written out, so that it stays when that of the size changes."""
        return {**asdict(self), "roi_size": self.head_config.roi_size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a value of another type, or beyond all bounds; the message says where it is.
            ConfigError: values that don't go together.
        """
        return msgspec.convert({"roi_size": FIRST_ROI_SIZE, **rename_fields(values)}, cls)

    @property
    def head_config(self) -> HeadConfig:
        """The numbers of the size, with this RoI size."""
        head_config = HEAD_CONFIGS[self.size]
        return head_config if self.roi_size is None else replace(head_config, roi_size=self.roi_size)


def list_models() -> list[str]:
    """What `-MODEL` takes."""
    return list(MODELS)


def create_model(config: ModelConfig, backbone_weights: Mapping[str, Tensor] | None = None) -> PoseModel:
    """Builds a model with random weights, or with a pretrained backbone.

    Args:
        config: what to build.
        backbone_weights: a state dict in any format that `load_backbone_weights` knows, of the whole backbone,
            also where the variant keeps only its first blocks.

    Raises:
        ConfigError: no such model, size or backbone.
        WeightsError: backbone weights of which not every key fits.
    """
    backbone: Backbone = build_backbone(config.size, config.backbone, config.image_size)
    if backbone_weights is not None:
        backbone.loaded = load_backbone_weights(backbone, dict(backbone_weights))
    mean_pose, sigmas = torch.tensor(config.mean_pose), torch.tensor(config.sigmas)
    return MODELS[config.name](backbone, config.head_config, mean_pose, sigmas)


def _check_known(what: str, value: str, known: list[str]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"There is no {what} '{value}': choose one of {', '.join(known)}.{hint}")
