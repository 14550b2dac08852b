"""Top-down models in PyTorch that draw a heatmap a keypoint: ViTPose, Sapiens, Sapiens2, SDPose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.errors import ConfigError, WeightsError
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.crops import CropStyle, cut, windows_of
from stages.ensemble.experts.decode import decode_heatmaps
from stages.ensemble.experts.expert import Floats, Poses


class HeatmapPartner:
    """Runs a network on crops and on their mirror images, and decodes the mean of both heatmaps.

    Args:
        network: (B, 3, H, W) normalised -> (B, C, H/4, W/4) heatmaps.
        style: of the crops.
        joints: which 17 of the C channels are COCO's keypoints.
        device: where the network is.
        source: the file it came from, for messages.
        batch: crops a forward pass.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        style: CropStyle,
        joints: Sequence[int],
        device: torch.device,
        source: object,
        batch: int = 16,
    ) -> None:
        self.network, self.style, self.joints = network, style, list(joints)
        self.device, self.source, self.batch = device, source, batch

    def predict(self, image: NDArray[np.uint8], boxes: Floats) -> Poses:
        """See `Expert`.

        Raises:
            ConfigError: the crops don't fit into the GPU's memory.
            WeightsError: the heatmaps are not finite.
        """
        windows = windows_of(boxes, self.style.size)
        crops = torch.from_numpy(cut(image, windows, self.style))
        if not len(crops):
            return Poses(np.zeros((0, len(self.joints), 2)), np.zeros((0, len(self.joints))))
        heatmaps = torch.cat([self._heatmaps(part) for part in torch.split(crops, self.batch)]).numpy()
        places, peaks = decode_heatmaps(heatmaps)
        return Poses(windows.to_image(places), peaks.clip(0, 1))

    @torch.inference_mode()
    def _heatmaps(self, crops: Tensor) -> Tensor:
        """(B, 17, h, w) on the CPU, the mean over the crops and their mirror images."""
        try:
            straight = self._run(crops)
            mirrored = self._run(crops.flip(-1))[:, COCO_PERSON.flip_order].flip(-1)
        except torch.OutOfMemoryError as error:
            raise ConfigError(f"{self.source} is too large for {self.device}. Use -DEVICE cpu.") from error
        mean = (straight + mirrored) / 2
        if not bool(torch.isfinite(mean).all()):
            raise WeightsError(f"{self.source} gives heatmaps that are not finite. Its weights are broken.")
        return mean

    def _run(self, crops: Tensor) -> Tensor:
        return self.network(crops.to(self.device)).float().cpu()[:, self.joints]
