"""The one place where models are named, described and built. Nothing here loads torch before a model is built."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from msgspec import Meta

from sia.commands.values import SIDES, format_size
from sia.errors import ConfigError, DataError, WeightsError
from sia.io.first_edition import rename_fields
from sia.io.stored import Finite
from sia.skeletons.skeleton import Skeleton

if TYPE_CHECKING:
    from torch import Tensor

    from sia.model import PoseModel
    from sia.sia_pose_decoder_led import SiaPoseDecoderLed
    from sia.sia_pose_simple import SiaPoseSimple

MODELS = {
    "sia_pose_simple": "SiaPoseSimple",
    "sia_pose": "SiaPose",
    "sia_pose_decoder_led": "SiaPoseDecoderLed",
}
"""The variants: each a module of `sia`, and a class in it."""


@dataclass(frozen=True)
class HeadConfig:
    """The numbers that differ between sizes.

    Attributes:
        tokens: M detection tokens.
        groups: G, token groups in training.
        token_blocks: how many of the last blocks the tokens join (`sia_pose_simple`, `sia_pose`).
        hidden_dim: width of the light decoder and of the refiner.
        layers: layers of the light decoder and of the refiner.
        people: R, the most people that can be found: the best tokens, each of which gets a crop.
        roi_channels: channels of the RoI keypoint head at the resolution of its heatmaps.
        roi_size: (height, width) in pixels of the crop of each person that the RoI keypoint head reads.
        roi_trunk: timm's name of the convolutional network that reads the crops, "" for an hourglass of our own.
        map_refiner: whether the refiner of `sia_pose` reads a map of the whole image, as in older weights, and not the
            person's crop.
    """

    tokens: int = 100
    groups: int = 2
    token_blocks: int = 4
    hidden_dim: int = 256
    layers: int = 3
    people: int = 40
    roi_channels: int = 64
    roi_size: tuple[int, int] = (96, 96)
    roi_trunk: str = ""
    map_refiner: bool = False


LITE0 = "tf_efficientnet_lite0"
"""EfficientNet-Lite0: no squeeze-and-excitation and ReLU6, so that it is fast on every CPU (Apache-2.0)."""

HEAD_CONFIGS: dict[str, HeadConfig] = {
    "p32": HeadConfig(groups=1, token_blocks=2, hidden_dim=64, layers=2, roi_channels=32, roi_size=(64, 64)),
    "n16": HeadConfig(groups=1, token_blocks=2, hidden_dim=96, layers=2),
    "h16": HeadConfig(groups=1, token_blocks=2, hidden_dim=96, layers=2, roi_size=(128, 128), roi_trunk=LITE0),
    "n32": HeadConfig(groups=1, token_blocks=2, hidden_dim=96, layers=2, roi_size=(64, 64)),
    "ti16": HeadConfig(hidden_dim=128, layers=2),
    "s16": HeadConfig(),
    "b16": HeadConfig(),
    "l14": HeadConfig(hidden_dim=384),
    "test": HeadConfig(tokens=8, token_blocks=2, hidden_dim=32, layers=1, people=4, roi_channels=8, roi_size=(64, 64)),
}

ROI_SIZES = 32, 512
"""Least and most pixels a side of the crops of the RoI keypoint head."""

FIRST_ROI_SIZE = (64, 64)
"""That of weights saved before it could be chosen."""

ROI_SCORE_THRESH = 0.15
"""Score from which on the RoI keypoint head runs for a person: docs/benchmarks.md has what others cost and save."""

MOST_KEYPOINTS = 4096
"""Of one model: no skeleton has nearly as many."""

OURS = "Use best.pt or last.pt of a run of train_pose.py."
"""What to do about a file that is no checkpoint."""

Side = Annotated[int, Meta(ge=1, le=SIDES[1])]


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a model again; it travels in every checkpoint.

    Attributes:
        name: a key of `MODELS`.
        size: a key of `HEAD_CONFIGS`; with a backbone of another width it still sets tokens, groups and decoder.
        num_keypoints: K.
        image_size: (height, width) in pixels that the model was trained at.
        mean_pose: K rows of x, y relative to the box: (keypoint - centre) / (width, height).
        sigmas: K OKS constants.
        backbone: a timm name, or None for the size's own.
        roi_size: (height, width) in pixels of the crops of the RoI keypoint head, or None for the size's own.
        roi_trunk: timm's name of the network that reads them, "" for an hourglass, or None for the size's own.
        certainty: whether it tells visibility and standard deviation of each keypoint; older weights don't.
        map_refiner: that of `HeadConfig`.
    """

    name: str
    size: str
    num_keypoints: Annotated[int, Meta(ge=1, le=MOST_KEYPOINTS)]
    image_size: tuple[Side, Side]
    mean_pose: tuple[tuple[Finite, Finite], ...]
    sigmas: tuple[Finite, ...]
    backbone: Annotated[str, Meta(max_length=200)] | None = None
    roi_size: tuple[int, int] | None = None
    roi_trunk: Annotated[str, Meta(max_length=200)] | None = None
    certainty: bool = False
    map_refiner: bool = False

    def __post_init__(self) -> None:
        _check_known("model", self.name, list(MODELS))
        _check_known("size", self.size, list(HEAD_CONFIGS))
        lengths = (len(self.mean_pose), len(self.sigmas))
        if lengths != (self.num_keypoints, self.num_keypoints):
            raise ConfigError(
                f"A model of {self.num_keypoints} keypoints needs as many mean positions and sigmas, got {lengths}."
            )
        least, most = ROI_SIZES
        if self.roi_size is not None and any(side % 16 or not least <= side <= most for side in self.roi_size):
            raise ConfigError(
                f"Crops of {format_size(self.roi_size)} px can't be had: choose multiples of 16 between {least} and "
                f"{most} (-ROI_SIZE)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; what a size has of its own is written out, so that it stays when the size changes."""
        return {**asdict(self), "roi_size": self.head_config.roi_size, "roi_trunk": self.head_config.roi_trunk}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a value of another type, or beyond all bounds; the message says where it is.
            ConfigError: values that don't go together.
        """
        given = {**rename_fields(values)}
        older = {"roi_size": FIRST_ROI_SIZE, "roi_trunk": "", "map_refiner": given.get("name") == "sia_pose"}
        return msgspec.convert({**older, **given}, cls)

    @property
    def head_config(self) -> HeadConfig:
        """The numbers of the size, with this RoI size and trunk."""
        size = HEAD_CONFIGS[self.size]
        roi_size = size.roi_size if self.roi_size is None else self.roi_size
        roi_trunk = size.roi_trunk if self.roi_trunk is None else self.roi_trunk
        return replace(size, roi_size=roi_size, roi_trunk=roi_trunk, map_refiner=self.map_refiner)


def read_description(payload: Mapping[str, Any], source: object) -> tuple[ModelConfig, Skeleton]:
    """The model and the skeleton that a checkpoint was saved with.

    Raises:
        WeightsError: there is none, or it contradicts itself.
    """
    try:
        config = ModelConfig.from_dict(payload["model_config"])
        skeleton = msgspec.convert(payload["skeleton"], Skeleton)
    except (LookupError, TypeError, ValueError, RecursionError, ConfigError, DataError) as error:
        raise WeightsError(
            f"{source} doesn't describe a SIA Pose model ({type(error).__name__}: {error}). {OURS}"
        ) from error
    if config.num_keypoints != skeleton.num_keypoints:
        raise WeightsError(
            f"{source} contradicts itself: a model of {config.num_keypoints} keypoints, "
            f"a skeleton of {skeleton.num_keypoints}."
        )
    return config, skeleton


def model_class(name: str) -> type[SiaPoseSimple] | type[SiaPoseDecoderLed]:
    """The class of a variant; its module, and torch, are loaded now."""
    return cast("type[SiaPoseSimple]", getattr(importlib.import_module(f"sia.{name}"), MODELS[name]))


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
    import torch

    from sia.backbones.build import SIZES, build_backbone
    from sia.backbones.pretrained_weights import load_backbone_weights

    name = SIZES[config.size] if config.backbone is None else config.backbone
    backbone = build_backbone(name, config.image_size)
    if backbone_weights is not None:
        backbone.loaded = load_backbone_weights(backbone, dict(backbone_weights))
    mean_pose, sigmas = torch.tensor(config.mean_pose), torch.tensor(config.sigmas)
    model = model_class(config.name)(backbone, config.head_config, mean_pose, sigmas)
    if config.certainty:
        model.add_certainty()
    return model


def _check_known(what: str, value: str, known: list[str]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"There is no {what} '{value}': choose one of {', '.join(known)}.{hint}")
