"""A trained model ready for use: images in, people in original pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError, WeightsError
from sia.io.optional import need
from sia.people import People
from sia.runtimes.device import Device
from sia.runtimes.letterbox import letterbox_image
from sia.runtimes.onnx_runtime import OnnxRuntime
from sia.runtimes.openvino_runtime import OpenVinoRuntime
from sia.runtimes.runtime import Runtime
from sia.skeletons.skeleton import Skeleton

RUNTIMES: dict[str, type[Runtime]] = {".onnx": OnnxRuntime, ".xml": OpenVinoRuntime}
"""What runs a file, by its suffix; PyTorch runs all others, and is loaded only for them."""


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
        tta: bool = False,
        roi_size: tuple[int, int] | None = None,
        precision: str | None = None,
    ) -> Predictor:
        """Builds the model that a weights file describes; nothing else is needed.

        Args:
            weight_path: `best.pt`, `last.pt`, published weights, or an export of them (.onnx, .xml).
            device: one of `sia.runtimes.device.CHOICES`, or a numbered one such as ``cuda:1``.
            image_size: height, width of the model's input; that of the weights by default.
            roi_score_thresh: score in [0, 1] from which on the RoI keypoint head runs; that of the file by default.
            tta: flip test: see `Runtime.enable_tta`.
            roi_size: height, width of each person's crop, multiples of 16; that of the file by default.
            precision: of products of matrices and convolutions: see `Runtime.set_precision`; fp32 by default.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device, a size, this threshold, the precision or the flip test can't be had, or a package
                is missing.
        """
        kind = RUNTIMES.get(weight_path.suffix.lower())
        if kind is None:
            need("torch", f"Running {weight_path}")
            from sia.runtimes.torch_runtime import TorchRuntime

            kind = TorchRuntime
        runtime = kind.load(weight_path, device)
        if roi_score_thresh is not None:
            runtime.set_roi_score_thresh(roi_score_thresh)
        if roi_size is not None:
            runtime.set_roi_size(roi_size)
        if tta:
            runtime.enable_tta()
        if precision is not None:
            runtime.set_precision(precision)
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

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[People]:
        """Finds people in a batch; returns when the results are there, so that it can be timed.

        Args:
            images: (H, W, 3) uint8 RGB arrays of any sizes; `sia.estimator` makes these of whatever holds an image.

        Returns:
            `People` of each image, best first, in its own pixels; all candidates, however low their score.

        Raises:
            DataError: an array that is no image.
            ConfigError: the batch doesn't fit into the GPU's memory.
            WeightsError: the model gives numbers that are not finite.
        """
        if not len(images):
            return []
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise DataError(f"Images must be (H, W, 3) uint8, but one is {image.shape} {image.dtype}.")
        pairs = [letterbox_image(image, self.image_size) for image in images]  # the same resize as in validation
        decoded = self.runtime.find(np.stack([image for image, _ in pairs]).transpose(0, 3, 1, 2))
        if not decoded.is_finite():
            raise WeightsError(
                f"The model of {self.runtime.source} gives numbers that are not finite. Its training failed."
            )
        letterboxes = np.array([letterbox for _, letterbox in pairs], np.float32)
        return decoded.to_original(letterboxes, np.array([image.shape[:2] for image in images]))
