"""AdamW with layer-wise learning rates for the backbone and weight decay only where it belongs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BACKBONE = "backbone."
_NEVER_DECAYED = ("pos_embed", "token", "position", "embed.weight")


def make_optimizer(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    layer_index: Callable[[str], int],
    depth: int,
) -> torch.optim.AdamW:
    """Groups parameters by learning rate and decay.

    Args:
        model: its backbone's parameters start with ``backbone.``.
        lr: of everything outside the backbone.
        weight_decay: on matrices and kernels; norms, biases, tokens and positions have none.
        layer_decay: the backbone's layer i learns at ``lr * layer_decay ** (depth + 1 - i)`` (Bao et al., BEiT, 2021).
        layer_index: depth of a backbone parameter by its name in the backbone: 0 is the stem, depth + 1 the last norm.
        depth: number of blocks.

    Returns:
        The optimiser; each group has a ``name`` (``new``, ``layer-00``, ...) for the log.
    """
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    rates: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        group, rate = "new", lr
        if name.startswith(BACKBONE) and layer_decay < 1:
            layer = layer_index(name.removeprefix(BACKBONE))
            group, rate = f"layer-{layer:02d}", lr * layer_decay ** (depth + 1 - layer)
        rates[group] = rate
        groups.setdefault((group, is_decayed(name, parameter)), []).append(parameter)
    rows = [
        {"params": parts, "lr": rates[group], "weight_decay": weight_decay if decayed else 0.0, "name": group}
        for (group, decayed), parts in sorted(groups.items(), key=lambda item: item[0])
    ]
    return torch.optim.AdamW(rows, lr=lr, fused=_can_fuse(model))


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: not to norms, biases, tokens and positions."""
    return parameter.ndim > 1 and not any(word in name for word in _NEVER_DECAYED)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The present rate of the new parts, and of the deepest and the topmost backbone layer where they differ."""
    rates = {str(group["name"]): float(group["lr"]) for group in optimizer.param_groups}
    layers = sorted(name for name in rates if name.startswith("layer-"))
    chosen = {"new": rates["new"]} if "new" in rates else {}
    if layers:
        chosen |= {"backbone_first": rates[layers[0]], "backbone_last": rates[layers[-1]]}
    return chosen


def _can_fuse(model: nn.Module) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in model.parameters())
