"""A trained model ready for use: images in, people in original pixels out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.errors import DataError, WeightsError
from sia.io.images import pixels_of, read_image
from sia.io.letterbox import letterbox_image
from sia.modules.postprocess import Decoded, to_original
from sia.people import People
from sia.runtimes.device import Device
from sia.runtimes.onnx_runtime import OnnxRuntime
from sia.runtimes.openvino_runtime import OpenVinoRuntime
from sia.runtimes.runtime import Runtime, TorchRuntime
from sia.skeletons.skeleton import Skeleton

RUNTIMES: dict[str, type[Runtime]] = {".onnx": OnnxRuntime, ".xml": OpenVinoRuntime}
"""What runs a file, by its suffix; PyTorch runs all others."""


OneImage = NDArray[np.uint8] | str | os.PathLike[str] | PIL.Image.Image
Images = OneImage | Iterable[OneImage]


def _several(images: Any) -> Iterable[Any]:
    """One image becomes a list of it; an array of four dimensions is a batch already."""
    if isinstance(images, np.ndarray):
        return images if images.ndim >= 4 else [images]
    one = isinstance(images, str | os.PathLike | PIL.Image.Image) or not isinstance(images, Iterable)
    return [images] if one else images


def _as_array(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of whatever `Predictor.predict` takes."""
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, PIL.Image.Image):
        return pixels_of(image)
    if not isinstance(image, np.ndarray):
        raise DataError(
            "An image must be a path, an image of Pillow or a (H, W, 3) uint8 array, but one is of type "
            f"{type(image).__name__}."
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(f"Images must be (H, W, 3) uint8, but one is {image.shape} {image.dtype}.")
    return image


class Predictor:
    """Finds people in images of any size with one model on one device.

    Attributes:
        runtime: what runs the model.
        image_size: height, width of the model's input.
    """

    def __init__(self, runtime: Runtime, image_size: tuple[int, int] | None = None) -> None:
        """image_size: that of the model by default.

        Raises:
            ConfigError: the model can't take images of this size.
        """
        self.runtime = runtime
        self.image_size = image_size or runtime.description.config.image_size
        runtime.check_size(self.image_size)

    @classmethod
    def load(
        cls,
        weight_path: Path,
        device: str = "auto",
        image_size: tuple[int, int] | None = None,
        roi_score_thresh: float | None = None,
    ) -> Predictor:
        """Builds the model that a weights file describes; nothing else is needed.

        Args:
            weight_path: `best.pt`, `last.pt`, published weights, or an export of them (.onnx, .xml).
            device: one of `sia.runtimes.device.CHOICES`, or a numbered one such as ``cuda:1``.
            image_size: height, width of the model's input; that of the weights by default.
            roi_score_thresh: score in [0, 1] from which on the RoI keypoint head runs; that of the file by default.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device, this size or these looks can't be had, or a package is missing.
        """
        runtime = RUNTIMES.get(weight_path.suffix.lower(), TorchRuntime).load(weight_path, device)
        if roi_score_thresh is not None:
            runtime.set_roi_score_thresh(roi_score_thresh)
        return cls(runtime, image_size)

    @property
    def skeleton(self) -> Skeleton:
        """What the keypoints mean."""
        return self.runtime.description.skeleton

    @property
    def device(self) -> Device:
        """Where the model runs, and why."""
        return self.runtime.device

    def describe(self) -> str:
        """One line: what runs where and why."""
        return self.runtime.describe(self.image_size)

    def predict(self, images: Images) -> list[People]:
        """Finds people in a batch; returns when the results are there, so that it can be timed.

        Args:
            images: one image or several: (H, W, 3) uint8 RGB arrays of any sizes, paths, or images of Pillow.

        Returns:
            `People` of each image, best first, in its own pixels; all candidates, however low their score.

        Raises:
            DataError: something that is no image, or can't be read.
            ConfigError: the batch doesn't fit into the GPU's memory.
            WeightsError: the model gives numbers that are not finite.
        """
        arrays = [_as_array(image) for image in _several(images)]
        if not arrays:
            return []
        batch, letterboxes, sizes = self._prepare(arrays)
        with torch.inference_mode():
            decoded = self.runtime.find(batch)
            self._check_finite(decoded)
            return to_original(decoded, letterboxes, sizes)

    def _check_finite(self, decoded: Decoded) -> None:
        if not torch.cat([part.flatten() for part in decoded]).isfinite().all():
            raise WeightsError(
                f"The model of {self.runtime.source} gives numbers that are not finite. Its training failed."
            )

    def _prepare(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) uint8 on the device; (B, 3) letterboxes, (B, 2) sizes: the same resize as in validation."""
        pairs = [letterbox_image(image, self.image_size) for image in images]
        stacked = torch.from_numpy(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2)
        sizes = torch.tensor([image.shape[:2] for image in images])
        return stacked.to(self.device.torch), torch.tensor([box for _, box in pairs]), sizes
