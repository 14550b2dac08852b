"""What runs a model: one small interface, whether PyTorch, ONNX Runtime or OpenVINO stands behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sia.commands.values import format_size
from sia.errors import ConfigError
from sia.people import People
from sia.registry import ROI_SCORE_THRESH
from sia.runtimes.device import Device
from sia.runtimes.metadata import ModelMetadata

Floats = NDArray[np.float32]


class Decoded(NamedTuple):
    """R people an image, best first, in input pixels; these are the outputs of an exported graph.

    Attributes:
        scores: (B, R) in [0, 1], the OKS that is expected.
        boxes: (B, R, 4) x1, y1, x2, y2, around the keypoints too.
        keypoints: (B, R, K, 3) x, y, confidence in [0, 1].
        visibilities: (B, R, K) in [0, 1], None of models that don't tell.
        sigmas: (B, R, K) standard deviations of x and of y, likewise.
    """

    scores: Floats
    boxes: Floats
    keypoints: Floats
    visibilities: Floats | None = None
    sigmas: Floats | None = None

    def is_finite(self) -> bool:
        """Whether every number is one."""
        return all(bool(np.isfinite(part).all()) for part in self if part is not None)

    def to_original(self, letterboxes: Floats, sizes: NDArray[np.int64]) -> list[People]:
        """Input pixels -> original pixels; boxes are clipped to the image, keypoints are not.

        Nothing is suppressed: one token stands for one person.

        Args:
            letterboxes: (B, 3) rows of scale, pad x, pad y.
            sizes: (B, 2) original height and width.

        Returns:
            B `People`, those without a visible box left out.
        """
        scale, pad = np.split(letterboxes[:, None], [1], axis=-1)
        limit = np.tile(sizes[:, None, ::-1].astype(np.float32), 2)
        boxes = ((self.boxes - np.tile(pad, 2)) / scale).clip(0, limit)
        keypoints = (self.keypoints[..., :2] - pad[:, :, None]) / scale[:, :, None]
        seen = (boxes[..., 2:] - boxes[..., :2]).min(-1) > 0
        parts = {"boxes": boxes, "scores": self.scores, "keypoints": keypoints, "confidences": self.keypoints[..., 2]}
        if self.visibilities is not None and self.sigmas is not None:
            parts |= {"visibilities": self.visibilities, "sigmas": self.sigmas / scale}
        return [People(**{name: part[b][seen[b]] for name, part in parts.items()}) for b in range(len(boxes))]


INPUT = "images"
"""Name of an exported graph's input."""

Find = Callable[[NDArray[np.uint8]], Decoded]
"""Images (B, 3, H, W) RGB -> people, wherever the model is."""


def outputs_of(description: ModelMetadata) -> list[str]:
    """Names of an exported graph's outputs."""
    return list(Decoded._fields if description.config.certainty else Decoded._fields[:3])


class Runtime(ABC):
    """A model that is ready to run.

    Attributes:
        description: what the model is.
        device: where it runs, and why.
        source: the file it came from.
        tta: whether the crops of people are read in a mirror image, too.
    """

    tta: bool = False

    def __init__(self, description: ModelMetadata, device: Device, source: object) -> None:
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
    def find(self, images: NDArray[np.uint8]) -> Decoded:
        """Images (B, 3, H, W) RGB -> people in input pixels.

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
        """Runs the RoI keypoint head for people from this score on.

        Raises:
            ConfigError: that is fixed in the file.
        """
        if score != self.description.roi_score_thresh:
            raise self._fixed("--roi_score_thresh", f"{self.description.roi_score_thresh:g}", f"{score:g}")

    def set_roi_size(self, size: tuple[int, int]) -> None:
        """Reads crops of this height and width in pixels.

        Raises:
            ConfigError: that is fixed in the file, or can't be.
        """
        if size != self.description.roi_size:
            raise self._fixed("--roi_size", format_size(self.description.roi_size), format_size(size))

    def _fixed(self, flag: str, own: str, wanted: str) -> ConfigError:
        return ConfigError(
            f"{self.source} was exported with {flag} {own}, and can't change it. Leave the flag out, or export the "
            f"weights again with {flag} {wanted}."
        )

    def enable_tta(self) -> None:
        """From now on keypoints are from the mean heatmaps of each person's crop and of its mirror image (flip test).

        Raises:
            ConfigError: the model can't do it.
        """
        raise ConfigError(
            f"{self.source} is an export, which reads each crop once. Leave --tta out, or run the weights that it was "
            "made from."
        )

    def set_precision(self, name: str) -> None:
        """Computes in one of `sia.runtimes.device.PRECISIONS`.

        Raises:
            ConfigError: the model or its device can't.
        """
        raise ConfigError(
            f"{self.source} is an export, which computes as its runtime chooses. Leave --precision out, or run the "
            "weights that it was made from."
        )

    def describe(self, image_size: tuple[int, int] | None = None) -> str:
        """One line: what runs where and why, for inputs of this height and width, else of those of the file."""
        config, skeleton = self.description.config, self.description.skeleton
        height, width = image_size or config.image_size
        looks, crop = self.description.roi_score_thresh, format_size(self.description.roi_size)
        head = "" if looks == ROI_SCORE_THRESH else f", RoI refinement from {looks:g}"
        head += ", flip test" if self.tta else ""
        return (
            f"{config.name} {config.size} ({self.description.parameters / 1e6:.1f} M parameters, "
            f"{skeleton.num_keypoints} keypoints, input {width}x{height}, crops {crop}, "
            f"{self.description.precision}{head}) "
            f"from {self.source} on {self.device}"
        )
