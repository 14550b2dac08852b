"""The refiner: one query a keypoint of each person, which reads the person's crop and revises where it is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import MLP, DecoderLayer, cell_centres

BANDS = 6
"""Frequencies by which a place in the crop is told, each twice the one before."""

CONFIDENCE_LIMIT = 6.0
"""Most of a logit of a keypoint's confidence that a query is told."""


class PlaceEmbedding(nn.Module):
    """Places in a crop as sines and cosines (Tancik et al., Fourier Features, 2020, section 3)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(4 * BANDS, dim)

    def forward(self, places: Tensor) -> Tensor:
        """places (..., 2) float32, x and y from -1 to 1 across the crop -> (..., dim)."""
        octaves = math.pi / 2 * 2.0 ** torch.arange(BANDS, device=places.device)
        angles = (places[..., None] * octaves).flatten(-2)
        embedded: Tensor = self.project(torch.cat([angles.sin(), angles.cos()], -1))
        return embedded


class RoIRefiner(nn.Module):
    """Cross-attention decoder over keypoint queries in a person's crop, after the RoI keypoint head.

    A query knows what the head found, and sees the other keypoints and the crop at stride 16. It answers with the
    weights of a map of its own over the features at stride 4, which is added to the keypoint's heatmap (as masks in
    Cheng et al., MaskFormer, section 3.2). A new refiner changes nothing.
    """

    def __init__(self, token_dim: int, width: int, dim: int, num_keypoints: int, layers: int, finer: int) -> None:
        """Builds the refiner.

        Args:
            token_dim: width of the detection tokens.
            width: channels of the crop's features at stride 4, half of those at stride 16.
            dim: width D of the keypoint queries.
            num_keypoints: K.
            layers: how many.
            finer: cells of the heatmaps along one of the features at stride 4.
        """
        super().__init__()
        self.finer = finer
        self.memory, self.norm_memory = nn.Linear(2 * width, dim), nn.LayerNorm(dim)
        self.place = PlaceEmbedding(dim)
        self.person = nn.Linear(token_dim, dim)
        self.keypoints = nn.Parameter(torch.randn(num_keypoints, dim) * 0.02)
        self.under, self.confidence = nn.Linear(width, dim), nn.Linear(1, dim)
        self.layers = nn.ModuleList(DecoderLayer(dim) for _ in range(layers))
        self.norm_out = nn.LayerNorm(dim)
        self.features = nn.Sequential(
            nn.Conv2d(width, dim, 1),
            nn.SiLU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.Conv2d(dim, width, 1),
        )
        self.kernel = nn.Linear(dim, finer**2 * width)
        self.score = MLP(dim, dim, 1)
        for parameter in (*self.kernel.parameters(), *self.score[2].parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self, tokens: Tensor, fine: Tensor, deep: Tensor, places: Tensor, confidences: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What to add to what the head found; no gradient reaches the places and confidences.

        Args:
            tokens: (n, token_dim), normalised.
            fine: (n, width, h, w) features at stride 4.
            deep: (n, 2 * width, h / 4, w / 4) features at stride 16.
            places: (n, K, 2) of the keypoints, in fractions of the crop's sides.
            confidences: (n, K) logits.

        Returns:
            (n, K, finer * h, finer * w) float32 for the logits of the heatmaps, and (n,) float32 for that of the score.
        """
        at = places.detach().float() * 2 - 1
        rows, columns = deep.shape[-2:]
        cells = cell_centres((rows, columns), deep.device) / at.new_tensor([columns, rows]) * 2 - 1
        memory = self.norm_memory(self.memory(rearrange(deep, "n c h w -> n (h w) c")) + self.place(cells))
        sure = confidences.detach().clamp(-CONFIDENCE_LIMIT, CONFIDENCE_LIMIT)[..., None]
        under = F.grid_sample(fine.float(), at[:, :, None], align_corners=False)[..., 0].transpose(1, 2)
        queries = self.person(tokens)[:, None] + self.keypoints + self.place(at)
        queries = queries + self.under(under.to(fine.dtype)) + self.confidence(sure.to(fine.dtype))
        for layer in self.layers:
            queries = layer(queries, memory)
        queries = self.norm_out(queries)
        kernels = rearrange(self.kernel(queries), "n k (f c) -> n (k f) c", f=self.finer**2)
        features = self.features(fine)
        maps = kernels @ features.flatten(2).to(kernels.dtype) * features.shape[1] ** -0.5
        maps = rearrange(maps, "n kf (h w) -> n kf h w", h=features.shape[2])
        return F.pixel_shuffle(maps.float(), self.finer), self.score(queries.mean(1)).float()[:, 0]
