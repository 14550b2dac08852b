"""The refiner of older `sia_pose` weights: queries sample a stride-8 map of the whole image around each keypoint."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sia.modules.layers import MLP, Attention, FeedForward
from sia.outputs import Prediction

POINTS = 4
"""Sampling points a head (Zhu et al., Deformable DETR, section 4.1)."""


class FineMap(nn.Module):
    """The stride-8 map: one top-down step of a feature pyramid (Lin et al., Feature Pyramid Networks, section 3)."""

    def __init__(self, map_dim: int, stem_dim: int, dim: int) -> None:
        """Builds the map.

        Args:
            map_dim: width of the patches.
            stem_dim: width of the stem's stride-8 features, 0 for none.
            dim: width of the result.
        """
        super().__init__()
        self.patches = nn.Conv2d(map_dim, dim, 1)
        self.stem = nn.Conv2d(stem_dim, dim, 1) if stem_dim else None

    def forward(self, patches: Tensor, stem: Tensor | None) -> Tensor:
        """patches (B, map_dim, h, w) and the stem's (B, stem_dim, 2h, 2w) or None -> (B, dim, 2h, 2w)."""
        size = (2 * patches.shape[-2], 2 * patches.shape[-1])
        coarse = F.interpolate(self.patches(patches), size=size, mode="bilinear", align_corners=False)
        return coarse if self.stem is None or stem is None else coarse + self.stem(stem)


class SampledAttention(nn.Module):
    """Reads a map at a few learned points around each keypoint; offsets are fractions of the person's size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = max(1, dim // 16)
        self.offsets = nn.Linear(dim, self.heads * POINTS * 2)
        self.weights = nn.Linear(dim, self.heads * POINTS)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.offsets.weight)
        nn.init.uniform_(self.offsets.bias, -0.15, 0.15)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(self, queries: Tensor, values: Tensor, keypoints: Tensor, sizes: Tensor, extent: Tensor) -> Tensor:
        """Samples and mixes.

        Args:
            queries: (B, R, K, D).
            values: (B, D, h, w) map.
            keypoints: (B, R, K, 2) in units of the longer input side.
            sizes: (B, R) one length of each person, in that unit.
            extent: (2,) width and height of the map in that unit.

        Returns:
            (B, R, K, D).
        """
        people = queries.shape[1]
        offsets = rearrange(self.offsets(queries).float(), "b r k (h p c) -> b r k h p c", h=self.heads, c=2)
        heatmaps = keypoints[:, :, :, None, None] + offsets * sizes[:, :, None, None, None, None]
        grid = rearrange(heatmaps / extent * 2 - 1, "b r k h p c -> (b h) (r k) p c")
        weights = rearrange(self.weights(queries), "b r k (h p) -> (b h) 1 (r k) p", h=self.heads).softmax(-1)
        split = rearrange(values, "b (h d) y x -> (b h) d y x", h=self.heads)
        sampled = F.grid_sample(split.float(), grid, align_corners=False)  # (B * h, d, R * K, P)
        mixed = (sampled * weights).sum(-1)
        joined = rearrange(mixed, "(b h) d (r k) -> b r k (h d)", h=self.heads, r=people)
        read: Tensor = self.out(joined.to(queries.dtype))
        return read


class RefinerLayer(nn.Module):
    """Keypoints of one person look at each other, then at the map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), Attention(dim)
        self.norm_cross, self.attend_cross = nn.LayerNorm(dim), SampledAttention(dim)
        self.feed = FeedForward(dim, 2)
        self.norm_out = nn.LayerNorm(dim)
        self.move = MLP(dim, dim, 3)

    def forward(self, queries: Tensor, values: Tensor, before: Prediction, extent: Tensor) -> tuple[Tensor, Prediction]:
        """queries (B, R, K, D) and where they are -> queries and where they go; boxes stay."""
        people = queries.shape[1]
        own = rearrange(self.norm_self(queries), "b r k d -> (b r) k d")
        queries = queries + rearrange(self.attend_self(own, own), "(b r) k d -> b r k d", r=people)
        start = before.poses.detach()
        sizes = before.boxes.detach()[..., 2:].amax(-1)
        queries = queries + self.attend_cross(self.norm_cross(queries), values, start, sizes, extent)
        queries = queries + self.feed(queries)
        change = self.move(self.norm_out(queries)).float()
        poses = start + change[..., :2] * sizes[..., None, None]
        return queries, before._replace(poses=poses, confidences=before.confidences.detach() + change[..., 2])


class MapRefiner(nn.Module):
    """Cross-attention decoder over keypoint queries (after Shi et al., PETR, section 3.3, with sampling)."""

    def __init__(self, token_dim: int, map_dim: int, stem_dim: int, dim: int, num_keypoints: int, layers: int) -> None:
        """Builds the refiner.

        Args:
            token_dim: width of the detection tokens.
            map_dim: width of the patches.
            stem_dim: width of the stem's stride-8 map, 0 for none.
            dim: width D of the keypoint queries.
            num_keypoints: K.
            layers: how many.
        """
        super().__init__()
        self.map = FineMap(map_dim, stem_dim, dim)
        self.norm_map = nn.GroupNorm(1, dim)
        self.person = nn.Linear(token_dim, dim)
        self.keypoints = nn.Parameter(torch.randn(num_keypoints, dim) * 0.02)
        self.place = nn.Linear(2, dim)
        self.layers = nn.ModuleList(RefinerLayer(dim) for _ in range(layers))
        self.norm_person = nn.LayerNorm(dim)
        self.score = MLP(dim, dim, 1)

    def forward(
        self, tokens: Tensor, people: Prediction, patches: Tensor, stem: Tensor | None, extent: Tensor
    ) -> list[Prediction]:
        """Moves the keypoints of the chosen people and revises their scores.

        Args:
            tokens: (B, R, token_dim), normalised, one a person.
            people: (B, R) where they are.
            patches: (B, map_dim, h, w), normalised.
            stem: (B, stem_dim, 2h, 2w) or None.
            extent: (2,) width and height of the map in units of the longer input side.

        Returns:
            The people after each layer; the last is the result.
        """
        values = self.norm_map(self.map(patches, stem))
        boxes = people.boxes.detach()
        relative = (people.poses.detach() - boxes[..., None, :2]) / boxes[..., None, 2:].clamp(min=1e-4)
        queries = self.person(tokens)[:, :, None] + self.keypoints + self.place(relative.clamp(-4, 4).to(tokens.dtype))
        stages = []
        for layer in self.layers:
            queries, people = layer(queries, values, people, extent)
            revised = self.score(self.norm_person(queries.mean(2))).float().squeeze(-1)
            stages.append(people._replace(scores=people.scores.detach() + revised))
        return stages
