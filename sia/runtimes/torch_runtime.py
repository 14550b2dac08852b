"""Checkpoints, run by PyTorch on any device. Arrays become tensors here, and tensors arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sia.errors import ConfigError
from sia.io.checkpoint import load_checkpoint
from sia.io.weights import build_described
from sia.model import PoseModel
from sia.modules.layers import fold_batch_norms
from sia.modules.postprocess import decode
from sia.registry import ModelConfig, read_description
from sia.runtimes.device import PRECISIONS, Device, choose_device, multiplies_bf16
from sia.runtimes.metadata import ModelMetadata
from sia.runtimes.runtime import Decoded, Find, Runtime
from sia.skeletons.skeleton import Skeleton


class TorchRuntime(Runtime):
    """PyTorch.

    Attributes:
        model: in inference mode, on the device, without batch normalisation behind convolutions.
    """

    def __init__(
        self, model: PoseModel, config: ModelConfig, skeleton: Skeleton, device: Device, source: object
    ) -> None:
        count = sum(parameter.numel() for parameter in model.parameters())
        description = ModelMetadata(
            config, skeleton, count, model.backbone.patch, roi_score_thresh=model.roi_score_thresh
        )
        super().__init__(description, device, source)
        # Images as the reader delivers them, channels last, need no copy to become convolution input.
        self.model = model.to(device.torch, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        fold_batch_norms(self.model)

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

    def find(self, images: NDArray[np.uint8]) -> Decoded:
        """See `Runtime`."""
        dtype = getattr(torch, self.description.precision)
        return torch_finder(self.model, self.device.torch, dtype, self.description.skeleton.blocks)(images)

    def check_size(self, size: tuple[int, int]) -> None:
        """PyTorch takes any."""

    def set_roi_score_thresh(self, score: float) -> None:
        """See `Runtime`."""
        self.model.roi_score_thresh = score
        self.description = replace(self.description, roi_score_thresh=score)

    def set_roi_size(self, size: tuple[int, int]) -> None:
        """See `Runtime`."""
        config = replace(self.description.config, roi_size=size)
        self.model.roi_head.size = size
        self.description = replace(self.description, config=config)

    def enable_tta(self) -> None:
        """See `Runtime`."""
        skeleton = self.description.skeleton
        if not skeleton.mirrors:
            raise ConfigError(f"Leave --tta out. For {self.source} mirroring is {skeleton.describe_flips()}.")
        self.model.roi_flip_order = torch.tensor(skeleton.flip_order, device=self.device.torch)
        self.tta = True

    def set_precision(self, name: str) -> None:
        """See `Runtime`."""
        device = self.device.torch
        if name not in PRECISIONS:
            raise ConfigError(f"The precision '{name}' is none of {', '.join(PRECISIONS)}.")
        if name == "bf16" and not multiplies_bf16(device):
            raise ConfigError(f"--precision bf16: {self.device} has no instructions for it. Leave the flag out.")
        if name == "fp16" and device.type == "cpu":
            raise ConfigError("--precision fp16 is for GPUs. Leave the flag out, or give bf16.")
        self.description = replace(self.description, precision=PRECISIONS[name])


def torch_finder(
    model: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32, blocks: Sequence[slice] = ()
) -> Find:
    """What a PyTorch model finds; it must be in inference mode.

    Args:
        model: on the device.
        device: where to compute.
        dtype: of products of matrices and convolutions; float32 means no autocast.
        blocks: see `decode`.
    """

    @torch.inference_mode()
    def find(images: NDArray[np.uint8]) -> Decoded:
        try:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                output = model(torch.from_numpy(images).to(device, non_blocking=True))
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"A batch of {len(images)} does not fit into the memory of {device}. Use a smaller batch."
            ) from error
        decoded = decode(output, (images.shape[-2], images.shape[-1]), blocks)
        return Decoded(*(part.float().cpu().numpy() for part in decoded))

    return find
