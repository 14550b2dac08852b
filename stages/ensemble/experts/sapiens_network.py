"""Sapiens (Khirodkar et al., ECCV 2024): a plain ViT and a deconvolution head, named as in the published files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PATCH = 16


@dataclass(frozen=True)
class SapiensSizes:
    """What differs between files.

    Attributes:
        width: of the tokens.
        depth: layers.
        heads: of the attention.
        hidden: width inside the feed-forward layers.
        grid: rows, columns of patches.
        deconvolutions: channels after each; each doubles the resolution.
        convolutions: channels after each 1x1 convolution.
        joints: keypoints.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    grid: tuple[int, int]
    deconvolutions: tuple[int, ...]
    convolutions: tuple[int, ...]
    joints: int


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(tokens), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.layers = nn.Sequential(inner, nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        changed: Tensor = self.layers(tokens)
        return changed


class _Layer(nn.Module):
    def __init__(self, sizes: SapiensSizes) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(sizes.width, eps=1e-6)
        self.attn = _Attention(sizes.width, sizes.heads)
        self.ln2 = nn.LayerNorm(sizes.width, eps=1e-6)
        self.ffn = _FeedForward(sizes.width, sizes.hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens))
        tokens = tokens + self.ffn(self.ln2(tokens))
        return tokens


class _Patches(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, PATCH, PATCH, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.projection(images)
        return patches


class _Backbone(nn.Module):
    def __init__(self, sizes: SapiensSizes) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.grid[0] * sizes.grid[1], sizes.width))
        self.patch_embed = _Patches(sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.depth))
        self.ln1 = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        tokens = rearrange(patches, "b d y x -> b (y x) d") + self.pos_embed
        for layer in self.layers:
            tokens = layer(tokens)
        features: Tensor = rearrange(self.ln1(tokens), "b (y x) d -> b d y x", y=patches.shape[2])
        return features


def _normed(layers: Iterable[nn.Conv2d | nn.ConvTranspose2d]) -> nn.Sequential:
    """Each layer, its normalisation and its activation."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())))


class _Head(nn.Module):
    def __init__(self, sizes: SapiensSizes) -> None:
        super().__init__()
        ups = pairwise([sizes.width, *sizes.deconvolutions])
        mixes = pairwise([sizes.deconvolutions[-1], *sizes.convolutions])
        self.deconv_layers = _normed(nn.ConvTranspose2d(a, b, 4, 2, padding=1, bias=False) for a, b in ups)
        self.conv_layers = _normed(nn.Conv2d(a, b, 1) for a, b in mixes)
        self.final_layer = nn.Conv2d(sizes.convolutions[-1], sizes.joints, 1)

    def forward(self, features: Tensor) -> Tensor:
        heatmaps: Tensor = self.final_layer(self.conv_layers(self.deconv_layers(features)))
        return heatmaps


class Sapiens(nn.Module):
    """Crops (B, 3, H, W), normalised -> heatmaps (B, K, H / 4, W / 4)."""

    def __init__(self, sizes: SapiensSizes) -> None:
        super().__init__()
        self.backbone = _Backbone(sizes)
        self.head = _Head(sizes)

    def forward(self, crops: Tensor) -> Tensor:
        """Draws a heatmap a keypoint."""
        heatmaps: Tensor = self.head(self.backbone(crops))
        return heatmaps
