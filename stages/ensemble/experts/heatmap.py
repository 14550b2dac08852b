"""Top-down models in PyTorch that draw a heatmap a keypoint: ViTPose, Sapiens, Sapiens2, SDPose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sia.errors import ConfigError, WeightsError
from sia.evaluation.predictions import Array
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.crops import CropStyle, cut, windows_of
from stages.ensemble.experts.expert import Poses

BLUR = 11
"""Side of the Gaussian kernel that smooths a heatmap; OpenCV's sigma for it is 2."""


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

    def predict(self, image: NDArray[np.uint8], boxes: Array) -> Poses:
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


def decode_heatmaps(heatmaps: NDArray[np.float32]) -> tuple[Array, Array]:
    """DARK for UDP heatmaps: a Newton step from the peak of the smoothed logarithm.

    Zhang et al., Distribution-Aware Coordinate Representation, CVPR 2020, section 3; Huang et al., CVPR 2020.

    Args:
        heatmaps: (N, K, h, w).

    Returns:
        (N, K, 2) x, y as fractions of the crop, whose corners are the centres of the corner cells; (N, K) peaks.
    """
    n, k, height, width = heatmaps.shape
    flat = heatmaps.reshape(n * k, height, width)
    peaks = flat.reshape(n * k, -1).max(axis=1)
    y, x = np.unravel_index(flat.reshape(n * k, -1).argmax(axis=1), (height, width))
    places = np.stack([x, y], axis=1) + _newton_step(flat, x, y)
    places = np.where(peaks[:, None] > 0, places, 0.0) / (width - 1, height - 1)
    return places.reshape(n, k, 2), peaks.reshape(n, k).astype(np.float64)


def _newton_step(maps: NDArray[np.float32], x: NDArray[np.intp], y: NDArray[np.intp]) -> Array:
    """(M, 2) from the peaks to where the quadratic through their neighbours is highest."""
    smooth = np.stack([_smoothed(one) for one in maps]) if len(maps) else np.zeros((0, *maps.shape[1:]))
    padded = np.pad(np.log(smooth.clip(1e-3, 50).astype(np.float64)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = np.arange(len(maps))

    def at(dx: int, dy: int) -> Array:
        return np.asarray(padded[rows, y + 1 + dy, x + 1 + dx])

    here, left, right, up, down = at(0, 0), at(-1, 0), at(1, 0), at(0, -1), at(0, 1)
    slope = np.stack([right - left, down - up], axis=1) / 2
    xx, yy = right - 2 * here + left, down - 2 * here + up
    xy = (at(1, 1) - right - down + 2 * here - left - up + at(-1, -1)) / 2
    tiny = float(np.finfo(np.float32).eps)
    curve = np.stack([np.stack([xx + tiny, xy], -1), np.stack([xy, yy + tiny], -1)], -2)
    return _solve(curve, -slope)


def _solve(curve: Array, target: Array) -> Array:
    """(M, 2, 2) and (M, 2) -> (M, 2); no step where the map is flat."""
    determinant = curve[:, 0, 0] * curve[:, 1, 1] - curve[:, 0, 1] * curve[:, 1, 0]
    steep = np.abs(determinant) > 1e-12
    safe = np.where(steep[:, None, None], curve, np.eye(2))
    return np.where(steep[:, None], np.linalg.solve(safe, target[..., None])[..., 0], 0.0)


def _smoothed(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurred with zeros beyond the border; its peak is as high as before."""
    border = BLUR // 2
    blurred = cv2.GaussianBlur(np.pad(heatmap, border).astype(np.float32), (BLUR, BLUR), 0)
    blurred = blurred[border:-border, border:-border]
    highest = float(blurred.max())
    return np.asarray(blurred * (float(heatmap.max()) / highest) if highest > 0 else blurred, np.float32)
