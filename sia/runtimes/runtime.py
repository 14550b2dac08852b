"""What runs a model: one small interface, whether PyTorch, ONNX Runtime or OpenVINO stands behind it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from msgspec import Struct
from torch import Tensor, nn

from sia.errors import ConfigError, WeightsError
from sia.io.checkpoint import load_checkpoint
from sia.io.first_edition import rename_fields
from sia.io.stored import Count, Finite
from sia.io.weights import build_described, read_description
from sia.model import ROI_SCORE_THRESH, PoseModel
from sia.modules.postprocess import Decoded, decode
from sia.registry import ModelConfig, Side
from sia.runtimes.device import Device, choose_device
from sia.runtimes.graph import smallest_side
from sia.skeletons.skeleton import Skeleton

Find = Callable[[Tensor], Decoded]
"""Images (B, 3, H, W) uint8 on any device -> people in input pixels, wherever the model is."""

METADATA = "sia_pose"
"""Where an exported file keeps its `Description`."""

EXPORT_FORMAT = "sia_pose_export/1"

FLOAT32 = "float32"
"""Precision of models that were not quantised."""


class _Exported(Struct):
    """The schema of the metadata of an exported file."""

    format: Literal["sia_pose_export/1"]  # `EXPORT_FORMAT`
    model_config: dict[str, Any]
    skeleton: dict[str, Any]
    parameters: Count
    patch: Side
    precision: str
    fixed_size: tuple[Side, Side] | None
    roi_score_thresh: Finite


@dataclass(frozen=True)
class Description:
    """What a model is; travels in every exported file.

    Attributes:
        config: that it was built from; its image size is that of the export.
        skeleton: what its keypoints mean.
        parameters: how many.
        patch: stride of the backbone's patches in input pixels.
        precision: of its arithmetic.
        fixed_size: (H, W) where the graph takes no other size.
        roi_score_thresh: score from which on a person gets a RoI refinement.
    """

    config: ModelConfig
    skeleton: Skeleton
    parameters: int
    patch: int
    precision: str = FLOAT32
    fixed_size: tuple[int, int] | None = None
    roi_score_thresh: float = ROI_SCORE_THRESH

    def to_json(self) -> str:
        """For the metadata of a file."""
        values = {"format": EXPORT_FORMAT, "model_config": self.config.to_dict(), "skeleton": self.skeleton.to_dict()}
        own = {"parameters": self.parameters, "patch": self.patch, "precision": self.precision}
        return json.dumps({**values, **own, "fixed_size": self.fixed_size, "roi_score_thresh": self.roi_score_thresh})

    @classmethod
    def from_json(cls, text: str | None, source: object) -> Description:
        """Inverse of `to_json`.

        Raises:
            WeightsError: the file was not made by scripts/export.py.
        """
        try:
            values = msgspec.convert(rename_fields(msgspec.json.decode(text or "", type=dict[str, Any])), _Exported)
            config, skeleton = read_description(
                {"model_config": values.model_config, "skeleton": values.skeleton}, source
            )
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            raise WeightsError(
                f"{source} is no export of SIA Pose of the format {EXPORT_FORMAT} ({error}). "
                "Make it with scripts/export.py."
            ) from error
        return cls(
            config,
            skeleton,
            values.parameters,
            values.patch,
            values.precision,
            values.fixed_size,
            values.roi_score_thresh,
        )

    def check_size(self, size: tuple[int, int]) -> None:
        """Whether an exported graph takes images of (H, W).

        Raises:
            ConfigError: it doesn't.
        """
        shown = f"{size[0]}x{size[1]} (height x width)"
        if self.fixed_size not in (None, size):
            height, width = self.fixed_size or size
            raise ConfigError(f"The exported model takes {height}x{width} only, not {shown}. Export it again with it.")
        if self.fixed_size is None and not self.is_large(size):
            raise ConfigError(
                f"An input of {shown} is too small: this export needs {smallest_side(self.patch)} pixels on each side. "
                "Use a larger --imgsz, or export the weights with this one."
            )

    def is_large(self, size: tuple[int, int]) -> bool:
        """Whether a graph of any size takes images of (H, W)."""
        return min(size) >= smallest_side(self.patch)


class Runtime(ABC):
    """A model that is ready to run.

    Attributes:
        description: what the model is.
        device: where it runs, and why.
        source: the file it came from.
    """

    def __init__(self, description: Description, device: Device, source: object) -> None:
        self.description, self.device, self.source = description, device, str(source)

    @classmethod
    @abstractmethod
    def load(cls, path: Path, device: str) -> Runtime:
        """Opens a file.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device can't be used, or a package is missing.
        """

    @abstractmethod
    def find(self, images: Tensor) -> Decoded:
        """Images (B, 3, H, W) uint8 -> people in input pixels.

        Raises:
            ConfigError: the images have a size that the model can't take, or don't fit into the memory.
        """

    def check_size(self, size: tuple[int, int]) -> None:
        """Whether images of (H, W) can be run.

        Raises:
            ConfigError: they can't.
        """
        self.description.check_size(size)

    def set_roi_score_thresh(self, score: float) -> None:
        """Has people looked at again from this score on.

        Raises:
            ConfigError: that is fixed in the file.
        """
        if score != self.description.roi_score_thresh:
            raise ConfigError(
                f"{self.source} was exported with --roi_score_thresh {self.description.roi_score_thresh:g}, and can't "
                f"change it. Leave the flag out, or export the weights again with --roi_score_thresh {score:g}."
            )

    def describe(self, image_size: tuple[int, int] | None = None) -> str:
        """One line: what runs where and why, for inputs of this height and width, else of those of the file."""
        config, skeleton = self.description.config, self.description.skeleton
        height, width = image_size or config.image_size
        looks = self.description.roi_score_thresh
        fewer = "" if looks == ROI_SCORE_THRESH else f", RoI refinement from {looks:g}"
        return (
            f"{config.name} {config.size} ({self.description.parameters / 1e6:.1f} M parameters, "
            f"{skeleton.num_keypoints} keypoints, input {width}x{height}, {self.description.precision}{fewer}) "
            f"from {self.source} on {self.device}"
        )


class TorchRuntime(Runtime):
    """PyTorch; any device.

    Attributes:
        model: in inference mode, on the device.
    """

    def __init__(
        self, model: PoseModel, config: ModelConfig, skeleton: Skeleton, device: Device, source: object
    ) -> None:
        count = sum(parameter.numel() for parameter in model.parameters())
        description = Description(
            config, skeleton, count, model.backbone.patch, roi_score_thresh=model.roi_score_thresh
        )
        super().__init__(description, device, source)
        # Images as the reader delivers them, channels last, need no copy to become convolution input.
        self.model = model.to(device.torch, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: Path, device: str) -> TorchRuntime:
        """Builds the model that a checkpoint describes; nothing else is needed.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device can't be used.
        """
        chosen = choose_device(device)
        payload = load_checkpoint(path)
        config, skeleton = read_description(payload, path)
        return cls(build_described(config, payload["weights"], path), config, skeleton, chosen, path)

    def find(self, images: Tensor) -> Decoded:
        """See `Runtime`."""
        return torch_finder(self.model, self.device.torch)(images)

    def check_size(self, size: tuple[int, int]) -> None:
        """PyTorch takes any."""

    def set_roi_score_thresh(self, score: float) -> None:
        """See `Runtime`."""
        self.model.roi_score_thresh = score
        self.description = replace(self.description, roi_score_thresh=score)


def torch_finder(model: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> Find:
    """What a PyTorch model finds; it must be in inference mode.

    Args:
        model: on the device.
        device: where to compute.
        dtype: of products of matrices and convolutions; float32 means no autocast.
    """

    def find(images: Tensor) -> Decoded:
        try:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                output = model(images.to(device, non_blocking=True))
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"A batch of {len(images)} does not fit into the memory of {device}. Use a smaller batch."
            ) from error
        return decode(output, (images.shape[-2], images.shape[-1]))

    return find
