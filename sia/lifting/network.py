"""A small temporal network that lifts 2D poses, after VideoPose3D (Pavllo et al., CVPR 2019, section 3).

Camera frame: x right, y down, z away from the viewer along the line of sight to the person; the middle of the hips is
the origin. The unit is the body's own length, see `body_length`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sia.io.checkpoint import read_state_dict
from sia.io.weights import load_weights
from sia.lifting.skeleton import MIRRORED, PLACE
from sia.skeletons.skeleton import COCO_PERSON

RATE = 30
"""Frames a second that the network is made for."""
LIMBS = slice(5, 17)
"""COCO's keypoints below the head."""
HIPS = [11, 12]
WIDTH, DILATIONS = 256, (3, 9)
"""Channels, and dilations of the residual blocks."""
_AVERAGED = 27
"""Frames over which a person's size is averaged."""


def normalise(keypoints: Tensor, confidences: Tensor) -> Tensor:
    """2D poses without place and size.

    Args:
        keypoints: (B, T, 17, 2) of COCO, pixels.
        confidences: (B, T, 17) in [0, 1].

    Returns:
        (B, T, 17, 3): x and y from the middle of the hips, in root mean square distances of the limbs' keypoints
        from it, and the confidence.
    """
    placed = keypoints - keypoints[:, :, HIPS].mean(dim=2, keepdim=True)
    spread = placed[:, :, LIMBS].square().sum(-1).mean(-1)
    padded = functional.pad(spread[:, None], (_AVERAGED // 2, _AVERAGED // 2), mode="replicate")
    size = functional.avg_pool1d(padded, _AVERAGED, 1)[:, 0].clamp(min=1e-9).sqrt()
    return torch.cat([placed / size[..., None, None], confidences[..., None]], dim=-1)


def body_length(joints: Tensor) -> Tensor:
    """(..., 17, 3) joints -> (...): hips to neck, and the means of thighs and of shanks, together."""

    def between(a: str, b: str) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(joints[..., PLACE[a], :] - joints[..., PLACE[b], :], dim=-1)
        return length

    legs = [
        between(f"{side}{a}", f"{side}{b}")
        for side in ("Left", "Right")
        for a, b in (("Hip", "Knee"), ("Knee", "Ankle"))
    ]
    return between("Hips", "Neck") + torch.stack(legs).sum(dim=0) / 2


class LiftingNetwork(nn.Module):
    """(B, T, 17, 3) of `normalise` -> (B, T, 17, 3) joints in body lengths; the first and last frames are repeated.

    It sees 27 frames at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        width = WIDTH
        self.enter = nn.Sequential(nn.Conv1d(17 * 3, width, 3), nn.BatchNorm1d(width), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv1d(width, width, 3, dilation=step, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
                *(nn.Dropout(0.1), nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
                nn.Dropout(0.1),
            )
            for step in DILATIONS
        )
        self.leave = nn.Conv1d(width, 17 * 3, 1)

    def forward(self, poses: Tensor) -> Tensor:
        """The joints of every frame."""
        batch, frames = poses.shape[:2]
        margin = 1 + sum(DILATIONS)
        hidden = functional.pad(poses.flatten(2).transpose(1, 2), (margin, margin), mode="replicate")
        hidden = self.enter(hidden)
        for step, block in zip(DILATIONS, self.blocks, strict=True):
            hidden = hidden[..., step:-step] + block(hidden)
        joints: Tensor = self.leave(hidden).transpose(1, 2).reshape(batch, frames, 17, 3)
        return joints - joints[:, :, :1]

    @torch.inference_mode()
    def lift(self, keypoints: Tensor, confidences: Tensor) -> Tensor:
        """(T, 17, 2) pixels and (T, 17) -> (T, 17, 3): the mean over the track and its mirror image."""
        poses = normalise(keypoints[None], confidences[None])
        mirrored = poses[:, :, COCO_PERSON.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
        straight, other = self(torch.cat([poses, mirrored]))
        mean: Tensor = (straight + other[:, list(MIRRORED)] * torch.tensor([-1.0, 1.0, 1.0])) / 2
        return mean

    @classmethod
    def load(cls, path: Path) -> LiftingNetwork:
        """Reads the .safetensors file that scripts/train_lifting.py writes.

        Raises:
            WeightsError: it is missing, broken, or of something else.
        """
        network = cls()
        load_weights(network, read_state_dict(path), path, "It must be made by scripts/train_lifting.py.")
        return network.eval()
