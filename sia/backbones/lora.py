"""Low-rank adapters (Hu et al., LoRA, 2021, section 4.1) on the matrices of a backbone's blocks, made by peft."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sia.io.optional import need
from sia.sia_vision import Backbone

SCALE = 2
"""The adapters' output is multiplied by this (alpha is SCALE times the rank), so that it doesn't depend on the rank."""


class HalfLinear(nn.Linear):
    """A linear layer whose weight is kept in bfloat16: half the memory for what isn't trained.

    Under bfloat16 autocast its products are those of a float32 weight, which would be rounded for each of them; without
    autocast it computes in the precision of its input.
    """

    @classmethod
    def of(cls, layer: nn.Linear) -> HalfLinear:
        """A copy of a layer."""
        with torch.device("meta"):
            half = cls(layer.in_features, layer.out_features, layer.bias is not None)
        half.weight = nn.Parameter(layer.weight.detach().bfloat16(), requires_grad=False)
        half.bias = layer.bias
        return half

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        cast = not torch.is_autocast_enabled(x.device.type)
        return F.linear(x, self.weight.to(x.dtype) if cast else self.weight, self.bias)


def add_adapters(backbone: Backbone, rank: int) -> None:
    """Adds an adapter, which changes nothing yet, to every matrix of the blocks; only adapters are trained from here.

    Raises:
        ConfigError: peft is missing.
    """
    peft = need("peft", "-LORA")
    for module in backbone.modules():
        if hasattr(module, "qkv_bias_separate"):  # timm's Eva would multiply by the bare weight of qkv otherwise
            setattr(module, "qkv_bias_separate", True)  # noqa: B010
    vit: Any = backbone.vit
    names = [f"blocks.{name}" for name, module in vit.blocks.named_modules() if isinstance(module, nn.Linear)]
    config = peft.LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=names)
    peft.inject_adapter_in_model(config, vit)
    backbone.set_trainable("adapters")


def halve_frozen(backbone: Backbone) -> None:
    """Keeps the matrices that aren't trained in bfloat16."""
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and not child.weight.requires_grad:
                setattr(parent, name, HalfLinear.of(child))


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """A state dict as of a model without adapters: each is added to its matrix, in float32; nothing needs peft."""
    layers: dict[str, Any] = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    deltas = {name: layer.get_delta_weight(*layer.lora_A) for name, layer in layers.items()}
    plain: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        name = key.replace(".base_layer.", ".")
        owner, _, kind = name.rpartition(".")
        if ".lora_" in name:
            continue
        value = value.float() if value.dtype == torch.bfloat16 else value
        plain[name] = value + deltas[owner] if kind == "weight" and owner in deltas else value
    return plain
