"""Pre-training on masked images: it learns, and leaves nothing behind but weights."""

from __future__ import annotations

import pytest
import torch
from benchmarks.masked_images import masked_loss, pretrain
from torch import nn

from sia.backbones.build import build_backbone
from sia.sia_vision import Backbone


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("test", None, (64, 64))


def images() -> torch.Tensor:
    """Halves of two colours, so what is hidden can be told from what is seen."""
    shades = torch.randint(0, 255, (16, 3, 1, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return shades.repeat_interleave(32, dim=3).expand(-1, -1, 64, -1).contiguous()


def test_it_learns_to_tell_hidden_pixels(backbone: Backbone) -> None:
    torch.manual_seed(0)
    decoder, losses = nn.Linear(backbone.dim, 3 * backbone.patch**2), []
    optimizer = torch.optim.AdamW([*backbone.parameters(), *decoder.parameters()], 3e-3)
    for _ in range(60):
        losses.append(masked_loss(backbone, decoder, backbone.normalise(images())))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_what_is_seen_teaches_nothing(backbone: Backbone) -> None:
    images, told = backbone.normalise(images()), []

    def decoder(features: torch.Tensor) -> torch.Tensor:
        told.append(torch.zeros(*features.shape[:2], 3 * backbone.patch**2, requires_grad=True))
        return told[0]

    masked_loss(backbone, decoder, images).backward()  # type: ignore[arg-type]
    taught = (told[0].grad != 0).any(-1)
    assert 0.4 < taught.float().mean() < 0.8


@pytest.mark.parametrize("steps", [1, 10, 11])
def test_any_number_of_steps_changes_the_weights_only(backbone: Backbone, steps: int) -> None:
    before = [weight.clone() for weight in backbone.parameters()]
    pretrain(backbone, images(), steps, batch=2)
    assert any(not torch.equal(old, new) for old, new in zip(before, backbone.parameters(), strict=True))
    assert all(weight.grad is None for weight in backbone.parameters())
