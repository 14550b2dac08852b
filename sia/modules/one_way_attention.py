"""Attention in one direction: detection tokens read the image, and the image never looks at them.

Shapes: B images, N image tokens (prefix tokens and patches), M detection tokens in groups, L = N + M, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn


def one_way_mask(count: int, groups: int, tokens_per_group: int, device: torch.device | str | None = None) -> Tensor:
    """Attention mask under which detection tokens read the image but don't change it.

    Args:
        count: P + N, the prefix tokens and patches.
        groups: how many groups of detection tokens follow.
        tokens_per_group: tokens in each group.
        device: where to make the mask.

    Returns:
        bool (L, L), L = count + groups * tokens_per_group. Image tokens attend to image tokens; a detection
        token attends to the image and to its own group.
    """
    place = torch.arange(count + groups * tokens_per_group, device=device) - count  # below 0 in the image
    group = place.div(tokens_per_group, rounding_mode="floor").clamp(min=-1)
    return (group[None, :] == -1) | (group[:, None] == group[None, :])


def as_bias(mask: Tensor, tokens: Tensor) -> Tensor:
    """0 where the mask (L, L) is true, else minus infinity: where its attention isn't fused, timm adds masks to logits.

    Of the type of products: a wider one would widen all the logits, which take twice as long then.
    """
    device = tokens.device.type
    mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if mixed else tokens.dtype
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)


def is_plain(block: nn.Module) -> bool:
    """Whether a block of timm's is one that `read_image` knows."""
    return type(block) is Block and type(block.attn) is Attention and block.attn.gate is None


def read_image(block: Any, image: Tensor, tokens: Tensor, groups: int, update: bool) -> Tensor:
    """What a plain block gives under `one_way_mask`, without computing what the mask would take away.

    Args:
        block: `is_plain`, so a `Block`, whose attributes timm doesn't type.
        image: (B, N, D).
        tokens: (B, M, D), in `groups` groups.
        groups: how many.
        update: whether the image tokens are needed afterwards.

    Returns:
        The image tokens and the detection tokens behind them (B, L, D), or the latter alone (B, M, D).
    """
    attention, count = block.attn, image.shape[1]
    x = torch.cat([image, tokens.to(image.dtype)], dim=1)
    qkv = attention.qkv(block.norm1(x))
    q, k, v = rearrange(qkv, "b l (three h d) -> three b h l d", three=3, h=attention.num_heads)
    q, k = attention.q_norm(q), attention.k_norm(k)
    mask = None
    if groups > 1:
        mask = as_bias(one_way_mask(count, groups, tokens.shape[1] // groups, x.device)[count:], x)
    read = _attend(attention, q[:, :, count:], k, v, mask)
    if update:
        read = torch.cat([_attend(attention, *(part[:, :, :count] for part in (q, k, v))), read], dim=2)
    else:
        x = x[:, count:]
    read = attention.proj_drop(attention.proj(attention.norm(rearrange(read, "b h l d -> b l (h d)"))))
    x = x + block.drop_path1(block.ls1(read))
    result: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return result


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Queries (B, h, Q, d) on keys and values (B, h, L, d), with a mask (Q, L) to add to the logits."""
    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    logits = q * attention.scale @ k.transpose(-2, -1)
    shares: Tensor = attention.attn_drop((logits if mask is None else logits + mask).softmax(-1))
    return shares @ v
