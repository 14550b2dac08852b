"""Plain vision transformers, run block by block so that detection tokens can join in any block.

Shapes: B images, N patches on an h x w grid, P prefix tokens (class token, registers), M extra tokens, D width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sia.modules.layers import downsample
from sia.modules.one_way_attention import as_bias, is_plain, one_way_mask, read_image

TrainableParts = Literal["all", "adapters", "nothing"]
"""Which weights of a backbone are trained; adapters are those of `sia.backbones.lora`."""


class Features(NamedTuple):
    """The state between two blocks."""

    tokens: Tensor  # (B, P + N, D): prefix tokens first, then the patches row by row
    rope: Tensor | None  # rotary embedding of the N patches ((depth, heads,) N, 2 * head width), sines then cosines
    grid: tuple[int, int]  # (h, w), N = h * w
    stem8: Tensor | None = None  # (B, C, H / 8, W / 8): the convolution stem's stride-8 map, where there is one


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions through half the width, added to their input; starts as the identity."""

    normalised = (("conv1", "norm1"), ("conv2", "norm2"))

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width // 2, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        residual: Tensor = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return residual.add_(x)


class ReducedConv(nn.Conv2d):
    """A 3x3 convolution of stride 2 on the image averaged over blocks of pixels, as one convolution of the image."""

    def __init__(self, width_in: int, width_out: int, block: int) -> None:
        """block: side of a block in pixels."""
        super().__init__(width_in, width_out, 3, stride=2, padding=1, bias=False)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width_out, H / (2 block), W / (2 block))."""
        spread = self.weight.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3) / self.block**2
        return F.conv2d(x, spread, self.bias, stride=2 * self.block, padding=self.block)


class ConvStem(nn.Module):
    """Patch embedding by four stride-2 convolutions: a small ViT learns much faster with it (arXiv:2106.14881).

    A drop-in for timm's PatchEmbed in its dynamic-size mode: images (B, 3, H, W) to (B, H / 16, W / 16, D). Patches of
    32 pixels are those of 16 on an image of half the size: all that sees the larger one is the RoI keypoint head.
    """

    def __init__(self, img_size: Sequence[int], patch_size: int, embed_dim: int, **_: Any) -> None:
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (img_size[0] // patch_size, img_size[1] // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        first = downsample(3, 24)
        if patch_size > 16:
            first[0] = ReducedConv(3, 24, patch_size // 16)
        self.to8 = nn.Sequential(first, downsample(24, 32), ResidualUnit(32), downsample(32, 64), ResidualUnit(64))
        self.proj = nn.Conv2d(64, embed_dim, 3, stride=2, padding=1)

    def feat_ratio(self) -> int:
        """Input pixels per token, on a side."""
        return self.patch_size[0]

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The map of patches (B, H / 16, W / 16, D) and a map of half their stride (B, 64, H / 8, W / 8)."""
        stem8 = self.to8(images)
        return self.proj(stem8).permute(0, 2, 3, 1), stem8

    def forward(self, images: Tensor) -> Tensor:
        """The stride-16 map only."""
        return self.maps(images)[0]

    def init_weights(self) -> None:
        """Variance-preserving convolutions; residual branches start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, ResidualUnit):
                nn.init.zeros_(module.norm2.weight)
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]


def stride_of(vit: VisionTransformer | Eva) -> int:
    """Input pixels per patch, on a side."""
    stride: Any = vit.patch_embed.feat_ratio()
    return int(stride)


class Backbone(nn.Module):
    """A timm ViT as a stem, a list of blocks and a final norm.

    Attributes:
        dim: width D of the tokens.
        depth: number of blocks.
        patch: stride of the patches in input pixels.
        prefix: number P of prefix tokens.
        name: the timm name, or ours, that builds the same architecture again.
        loaded: what was found in the file of weights that it was filled from; empty for none.
        trainable: which weights are trained, set by `set_trainable`.
        recompute: whether a block keeps its input only, and is computed again for the gradient (Chen et al., Training
            Deep Nets with Sublinear Memory Cost, 2016). Frozen blocks that extra tokens run through always are.
        mean, std: buffers (3, 1, 1), the normalisation that the weights expect, for colours in [0, 1].
        grid: buffer (2,), the (h, w) for which the learned positions were made; weights need it to be resized.
        native_side: buffer (), the patches along the longer side of the input that the weights were first made for;
            unlike `grid` it stays where weights are trained on at another size.
    """

    mean: Tensor
    std: Tensor
    grid: Tensor
    native_side: Tensor

    def __init__(self, vit: VisionTransformer | Eva, name: str) -> None:
        super().__init__()
        if isinstance(vit.norm, nn.Identity):  # average-pooling models keep their final norm behind the pooling
            vit.norm, vit.fc_norm = vit.fc_norm, nn.Identity()
        self.vit = vit
        self.name = name
        self.loaded = ""
        self.trainable: TrainableParts = "all"
        self.recompute = False
        self.dim = int(vit.embed_dim)
        self.depth = len(vit.blocks)
        self.patch = stride_of(vit)
        self.prefix = int(vit.num_prefix_tokens)
        # Buffers, so that the normalisation travels with the weights.
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.register_buffer("grid", torch.tensor(vit.patch_embed.grid_size))
        self.register_buffer("native_side", torch.tensor(float(max(vit.patch_embed.grid_size))))
        config = getattr(vit, "pretrained_cfg", None) or {}
        self.set_normalisation(config.get("mean", IMAGENET_DEFAULT_MEAN), config.get("std", IMAGENET_DEFAULT_STD))

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets the mean and the standard deviation per colour channel, for colours in [0, 1]."""
        self.mean.copy_(torch.tensor(mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(std).view(3, 1, 1))

    def set_trainable(self, what: TrainableParts) -> None:
        """Sets which weights are trained; the others have no gradient. To be followed by `train` to train all."""
        self.trainable = what
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(what == "all" or (what == "adapters" and ".lora_" in name))
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """As usual, but what isn't trained stays as in evaluation: batch normalisation keeps its statistics."""
        return super().train(mode and self.trainable == "all")

    def normalise(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), uint8 in [0, 255] or float in [0, 1], to what `embed` expects."""
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype).div_(255)
        return (images - self.mean).div_(self.std)

    def embed(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) to the input of block 0; positions are interpolated to the grid.

        Raises:
            ValueError: H or W is no multiple of the patch.
        """
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"image of {height}x{width} pixels: each side must be a multiple of {self.patch}")
        stem8 = None
        if isinstance(self.vit.patch_embed, ConvStem):
            patches, stem8 = self.vit.patch_embed.maps(images)
        else:
            patches = self.vit.patch_embed(images)
        grid = (patches.shape[1], patches.shape[2])
        embedded = self.vit._pos_embed(patches)
        tokens, rope = embedded if isinstance(embedded, tuple) else (embedded, None)
        return Features(self.vit.norm_pre(tokens), rope, grid, stem8)

    def run_block(
        self, index: int, features: Features, extra: Tensor | None = None, groups: int = 1, update: bool = True
    ) -> tuple[Features, Tensor | None]:
        """Runs one block, with extra tokens behind the patches, which read them and never change them.

        Args:
            index: which block, from 0.
            features: the state before the block.
            extra: detection tokens (B, M, D); they have no position, so the rotary embedding leaves them alone.
            groups: the groups that these are in; a token attends to those of its own group only.
            update: whether the patches are needed after the block; else they stay as they were.

        Returns:
            The state after the block, and the extra tokens after it.
        """
        image, block = features.tokens, self.vit.blocks[index]
        if extra is None:
            return features._replace(tokens=self._run(block, image, **self._options(index, features))), None
        count = image.shape[1]
        if is_plain(block):
            tokens = self._run(partial(read_image, block), image, extra, groups, update)
        else:
            options = self._options(index, features, extra.shape[1])
            options["attn_mask"] = as_bias(one_way_mask(count, groups, extra.shape[1] // groups, image.device), image)
            tokens = self._run(block, torch.cat([image, extra.to(image.dtype)], dim=1), **options)
        joined = tokens[:, -extra.shape[1] :]
        return (features._replace(tokens=tokens[:, :count]) if update else features), joined

    def _run(self, work: Callable[..., Tensor], tokens: Tensor, *others: Any, **options: Any) -> Tensor:
        """The work of a block; it keeps its input only where that is asked for."""
        # Through a frozen block the gradient of the extra tokens passes, and nothing else that it computed is needed.
        given = (tokens, *others)
        passed = self.trainable == "nothing" and any(isinstance(x, Tensor) and x.requires_grad for x in given)
        if (self.recompute or passed) and torch.is_grad_enabled():
            result: Tensor = checkpoint(work, *given, use_reentrant=False, **options)
        else:
            result = work(*given, **options)
        return result

    def _options(self, index: int, features: Features, extra: int = 0) -> dict[str, Any]:
        """What a block needs beside the tokens: the rotary embedding, where there is one."""
        if not isinstance(self.vit, Eva):
            return {}
        return {"rope": self._rope_rows(index, features.rope, extra)}

    def _rope_rows(self, index: int, rope: Tensor | None, extra: int) -> Tensor | None:
        """The rotary embedding of one block, with `extra` rows that rotate by nothing (sine 0, cosine 1)."""
        if rope is None:
            return None
        if getattr(self.vit, "rope_mixed", False):
            rope = rope[index]
        if extra == 0:
            return rope
        still = rope.new_zeros(*rope.shape[:-2], extra, rope.shape[-1])
        still[..., rope.shape[-1] // 2 :] = 1
        return torch.cat([rope, still], dim=-2)

    def norm(self, tokens: Tensor) -> Tensor:
        """The ViT's final norm of (..., D)."""
        normed: Tensor = self.vit.norm(tokens)
        return normed

    def forward(self, images: Tensor) -> Features:
        """All blocks and the final norm, without extra tokens."""
        features = self.embed(images)
        for index in range(self.depth):
            features, _ = self.run_block(index, features)
        return features._replace(tokens=self.norm(features.tokens))

    def layer_index(self, parameter_name: str) -> int:
        """Depth of one of this module's parameters, for layer-wise learning-rate decay.

        Returns:
            0 for the stem, positions and prefix tokens, i + 1 for block i, depth + 1 for the final norm.
        """
        name = parameter_name.removeprefix("vit.")
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            return int(block[1]) + 1
        return self.depth + 1 if name.startswith("norm.") else 0
