"""Saved states of optimiser, schedule and loss scale, compared with the present ones before they are taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LRScheduler

_REMEMBERED = {AdamW: {"step", "exp_avg", "exp_avg_sq"}, Muon: {"momentum_buffer"}}
"""What each optimiser keeps of a parameter."""


def optimizer_state(saved: Mapping[str, Any], optimizer: Optimizer, place: str = "optimizer") -> dict[str, Any]:
    """What `optimizer.load_state_dict` may take.

    Args:
        saved: of a checkpoint.
        optimizer: one that was just made for the same parameters.
        place: how messages begin.

    Raises:
        ValueError: it is the state of something else; the message says where.
    """
    parts = getattr(optimizer, "parts", None)
    if parts is not None:
        states = saved.get("parts")
        if not isinstance(states, list | tuple) or [isinstance(s, Mapping) for s in states] != [True] * len(parts):
            raise ValueError(f"{place}.parts must be {len(parts)} states")
        pairs = enumerate(zip(states, parts, strict=True))
        return {"parts": [optimizer_state(state, part, f"{place}.parts[{i}]") for i, (state, part) in pairs]}
    own = optimizer.state_dict()["param_groups"]
    groups = alike(saved.get("param_groups"), own, f"{place}.param_groups")
    if [group["params"] for group in groups] != [group["params"] for group in own]:
        raise ValueError(f"{place}.param_groups is of other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = saved.get("state")
    if not isinstance(state, Mapping):
        raise ValueError(f"{place}.state is missing")
    wanted = next((names for kind, names in _REMEMBERED.items() if isinstance(optimizer, kind)), set())
    for key, entry in state.items():
        if type(key) is not int or not 0 <= key < len(parameters):
            raise ValueError(f"{place}.state has {key!r}, which is no parameter")
        if not isinstance(entry, Mapping) or entry.keys() != wanted:
            raise ValueError(f"{place}.state[{key}] must have {', '.join(sorted(wanted))}")
        fitting = {name: torch.zeros(()) if name == "step" else parameters[key] for name in wanted}
        alike(entry, fitting, f"{place}.state[{key}]")
    return {"state": dict(state), "param_groups": groups}


def scheduler_state(saved: Any, scheduler: LRScheduler) -> Any:
    """The saved state, checked as by `alike`; of the first edition, whose schedules had no attributes, with the own."""
    own = scheduler.state_dict()
    lambdas = saved.get("lr_lambdas") if isinstance(saved, Mapping) else None
    if isinstance(lambdas, list) and not any(lambdas):
        saved = {**saved, "lr_lambdas": own["lr_lambdas"]}
    return alike(saved, own, "scheduler")


def alike(saved: Any, own: Any, place: str) -> Any:
    """The saved state, without what the present one doesn't have.

    Args:
        saved: of a checkpoint.
        own: the present one.
        place: how the message begins.

    Raises:
        ValueError: a key is missing, a length, a shape or a type is another, or a number is not finite.
    """
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping):
            raise ValueError(f"{place} must be a dictionary")
        # What PyTorch fills in by itself may be missing: switches that its earlier versions did not have.
        missing = [key for key, value in own.items() if key not in saved and not (value is None or value is False)]
        if missing:
            raise ValueError(f"{place}.{missing[0]} is missing")
        return {key: alike(saved[key], value, f"{place}.{key}") for key, value in own.items() if key in saved}
    if isinstance(own, list | tuple):
        if not isinstance(saved, list | tuple) or len(saved) != len(own):
            raise ValueError(f"{place} must have {len(own)} entries")
        return type(own)(
            alike(one, value, f"{place}[{i}]") for i, (one, value) in enumerate(zip(saved, own, strict=True))
        )
    if isinstance(own, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != own.shape:
            raise ValueError(f"{place} must be a tensor of {tuple(own.shape)}")
        if not torch.isfinite(saved).all():
            raise ValueError(f"{place} has values that are not finite")
    elif isinstance(own, int | float) and not isinstance(own, bool):
        if isinstance(saved, bool) or not isinstance(saved, int | float) or not math.isfinite(saved):
            raise ValueError(f"{place} must be a number")
    elif type(saved) is not type(own) and not (own is None and isinstance(saved, bool)):
        raise ValueError(f"{place} must be {'nothing' if own is None else f'a {type(own).__name__}'}")
    return saved
