"""What an exported file says about its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sia.errors import ConfigError, WeightsError
from sia.io.first_edition import rename_fields
from sia.io.stored import Count, Finite
from sia.registry import ROI_SCORE_THRESH, ModelConfig, Side, read_description
from sia.skeletons.skeleton import Skeleton

METADATA = "sia_pose"
"""Where an exported file keeps its `ModelMetadata`."""

EXPORT_FORMAT = "sia_pose_export/1"

FLOAT32 = "float32"
"""Precision of models that were not quantised."""

SMALLEST_SIDE = 32
"""In pixels."""


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
class ModelMetadata:
    """What a model is; travels in every exported file.

    Attributes:
        config: that it was built from; its image size is that of the export.
        skeleton: what its keypoints mean.
        parameters: how many.
        patch: stride of the backbone's patches in input pixels.
        precision: of its arithmetic.
        fixed_size: (H, W) where the graph takes no other size.
        roi_score_thresh: score from which on the RoI keypoint head runs for a person.
    """

    config: ModelConfig
    skeleton: Skeleton
    parameters: int
    patch: int
    precision: str = FLOAT32
    fixed_size: tuple[int, int] | None = None
    roi_score_thresh: float = ROI_SCORE_THRESH

    @property
    def roi_size(self) -> tuple[int, int]:
        """Height and width in pixels of the crops that the RoI keypoint head reads."""
        return self.config.head_config.roi_size

    def to_json(self) -> str:
        """For the metadata of a file."""
        values = {"format": EXPORT_FORMAT, "model_config": self.config.to_dict(), "skeleton": self.skeleton.to_dict()}
        own = {"parameters": self.parameters, "patch": self.patch, "precision": self.precision}
        return json.dumps({**values, **own, "fixed_size": self.fixed_size, "roi_score_thresh": self.roi_score_thresh})

    @classmethod
    def from_json(cls, text: str | None, source: object) -> ModelMetadata:
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


def smallest_side(patch: int) -> int:
    """Least pixels along the input of a graph of any size; more than one patch, which can't be told from many."""
    return max(SMALLEST_SIDE, patch + 1)
