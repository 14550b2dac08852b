"""Pre-training of a backbone without labels: squares of images are hidden, and their pixels have to be told.

Xie et al., SimMIM, sections 3.1 to 3.4: hidden squares as large as patches, raw pixels, an l1 loss on what is hidden,
and one linear layer as decoder. Pixels are hidden instead of tokens, since a convolution stem sees across patches.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from datasets.coco.coco_pose import CocoPose
from sia.runtimes.device import autocast
from sia.sia_vision import Backbone
from utils.scheduler import make_scheduler

HIDDEN = 0.6
"""Fraction of the patches that is hidden."""


def images_of(dataset: CocoPose, size: tuple[int, int]) -> Tensor:
    """(N, 3, H, W) uint8, RGB: all images of a dataset, squashed to one size (H, W)."""
    images = [cv2.resize(dataset.read_image(n), size[::-1], interpolation=cv2.INTER_AREA) for n in range(len(dataset))]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def pretrain(backbone: Backbone, images: Tensor, steps: int, batch: int = 8, rate: float = 1e-3) -> None:
    """Trains a backbone in place.

    Args:
        backbone: on the CPU.
        images: (N, 3, H, W) uint8, sides multiples of the patch.
        steps: of AdamW; the rate rises over a tenth of them, then falls as a cosine.
        batch: images a step.
        rate: the highest.
    """
    decoder = nn.Sequential(nn.LayerNorm(backbone.dim), nn.Linear(backbone.dim, 3 * backbone.patch**2))
    weights = [*backbone.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.05)
    schedule = make_scheduler(optimizer, steps, steps // 10)
    for _ in range(steps):
        chosen = images[torch.randint(len(images), (batch,))]
        with autocast(torch.device("cpu")):
            loss = masked_loss(backbone, decoder, backbone.normalise(chosen))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def masked_loss(backbone: Backbone, decoder: nn.Module, images: Tensor) -> Tensor:
    """How far the hidden pixels are told wrong, as l1 distance of normalised values.

    decoder takes (B, N, D) patches to (B, N, 3 P^2) pixels; images (B, 3, H, W), normalised.
    """
    patch = backbone.patch
    pixels = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch, q=patch)
    hidden = torch.rand(pixels.shape[:2]) < HIDDEN
    rows = images.shape[-2] // patch
    cover = repeat(hidden, "b (h w) -> b 1 (h p) (w q)", h=rows, p=patch, q=patch)
    features = backbone.embed(images * ~cover)
    for index in range(backbone.depth):
        features, _ = backbone.run_block(index, features)
    told = decoder(features.tokens[:, backbone.prefix :])
    return F.l1_loss(told[hidden].float(), pixels[hidden])
