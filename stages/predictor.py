"""A trained model ready for use: pictures in, people in original pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.geometry import letterbox_image
from sia.model import PoseModel
from sia.postprocess import Decoded, decode, to_original
from sia.registry import ModelConfig, create_model
from stages.weights import load_weights, read_description
from utils.checkpoint import load_checkpoint
from utils.device import Device, choose_device
from utils.errors import ConfigError, DataError, WeightsError
from utils.skeleton import Skeleton
from utils.structures import People


class Predictor:
    """Finds people in pictures of any size with one model on one device.

    Attributes:
        model: in inference mode, on the device.
        config: what the model is.
        skeleton: what its keypoints mean.
        device: where it runs, and why.
    """

    def __init__(self, model: PoseModel, config: ModelConfig, skeleton: Skeleton, device: Device, source: str) -> None:
        self.config = config
        self.skeleton = skeleton
        self.device = device
        self._source = source
        # Images as the reader delivers them, channels last, need no copy to become convolution input.
        self.model = model.to(device.torch, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    @classmethod
    def load(cls, weight_path: Path, device: str = "auto") -> Predictor:
        """Builds the model that a weights file describes; nothing else is needed.

        Args:
            weight_path: `best.pt`, `last.pt` or published weights.
            device: one of `utils.device.CHOICES`, or a numbered one such as ``cuda:1``.

        Raises:
            WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
            ConfigError: the device can't be used.
        """
        chosen = choose_device(device)
        payload = load_checkpoint(weight_path)
        config, skeleton = read_description(payload, weight_path)
        model = create_model(config)
        load_weights(model, payload.get("weights"), weight_path)
        return cls(model, config, skeleton, chosen, str(weight_path))

    @property
    def image_size(self) -> tuple[int, int]:
        """Height, width of the model's input."""
        return self.config.image_size

    def describe(self) -> str:
        """One line: what runs where and why."""
        height, width = self.image_size
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{self.config.name} {self.config.size} ({count / 1e6:.1f} M parameters, {self.skeleton.num_keypoints} "
            f"keypoints, input {width}x{height}, float32) from {self._source} on {self.device}"
        )

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[People]:
        """Finds people in a batch; returns when the results are there, so that it can be timed.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.

        Returns:
            `People` of each picture, best first, in its own pixels; all candidates, however low their score.

        Raises:
            ConfigError: the batch doesn't fit into the GPU's memory.
            WeightsError: the model gives numbers that are not finite.
        """
        if not images:
            return []
        batch, letterboxes, sizes = self._prepare(images)
        try:
            with torch.inference_mode():
                decoded = decode(self.model(batch), self.image_size)
                self._check_finite(decoded)
                return to_original(decoded, letterboxes, sizes)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"A batch of {len(images)} does not fit into the memory of {self.device.torch}. Lower --batch_size."
            ) from error

    def _check_finite(self, decoded: Decoded) -> None:
        if not all(bool(part.isfinite().all()) for part in decoded):
            raise WeightsError(f"The model of {self._source} gives numbers that are not finite. Its training failed.")

    def _prepare(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) uint8 on the device, (B, 3) letterboxes, (B, 2) sizes: the same resize as in validation."""
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise DataError(f"Pictures must be (H, W, 3) uint8, but one is {image.shape} {image.dtype}.")
        pairs = [letterbox_image(image, self.image_size) for image in images]
        stacked = torch.from_numpy(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2)
        sizes = torch.tensor([image.shape[:2] for image in images])
        device = self.device.torch
        return stacked.to(device), torch.tensor([box for _, box in pairs]).to(device), sizes.to(device)
