"""Muon or AdamW, with layer-wise learning rates and weight decay only where it belongs; and the schedule over a run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from sia.model import PoseModel
from sia.modules.conv_pyramid import ConvPyramid, stage_of

BACKBONE = "backbone."
TRUNK = "roi_head.body.trunk.net."
MUON_RATE = 2.5
"""Learning rate of the matrices under Muon, relative to that of AdamW for the rest."""
FINAL = 0.01
"""Where the cosine of the schedule ends, as a fraction of the full learning rate."""
_NEVER_DECAYED = re.compile(
    r"pos_embed|(cls|reg|dist|mask|register|storage)_tokens?|position|embed\.weight|\.keypoints$"
)
_HIDDEN = re.compile(r"\.(attn|mlp|attend_\w+|feed)\.")
_NOT_HIDDEN = re.compile(r"(offsets|weights)\.")


class Float32Muon(Muon):
    """torch's Muon with its products in float32, for CPUs; the state is the same.

    torch's are in bfloat16, which a CPU without instructions for it emulates: for the matrices of `n16` 2.0 seconds a
    step instead of 0.1. With them float32 takes 1.3 times as long, still a tenth of a second.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(parameter.shape)))
        return loss


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """(m, n) -> about the nearest matrix with orthogonal rows or columns, by Newton-Schulz (Jordan et al., 2024)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class MuonWithAdamW(Optimizer):
    """Muon for the matrices inside the transformer layers, AdamW for all else, as one optimiser.

    Muon (Jordan et al., 2024) orthogonalises each update, scaled to the size of AdamW's (Liu et al., Muon is Scalable
    for LLM Training, 2025, section 2.2). From random weights it learns in about two thirds of AdamW's steps.
    """

    def __init__(self, matrices: list[dict[str, Any]], rest: list[dict[str, Any]], fused: bool) -> None:
        """Groups as for any optimiser, each with its ``lr`` and ``weight_decay``."""
        super().__init__([p for group in (*matrices, *rest) for p in group["params"]], {})
        on_cpu = all(parameter.device.type == "cpu" for group in matrices for parameter in group["params"])
        muon = (Float32Muon if on_cpu else Muon)(matrices, adjust_lr_fn="match_rms_adamw")
        self.parts = (muon, AdamW(rest, fused=fused))
        self._share_groups()

    def _share_groups(self) -> None:
        # The very dictionaries of the parts: what a schedule writes here, they read.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()  # type: ignore[no-untyped-call, unused-ignore]
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for part, saved in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(saved)
        self._share_groups()


def make_optimizer(
    model: PoseModel,
    *,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    muon: bool,
    trunk: tuple[float, float] | None = None,
) -> Optimizer:
    """Groups parameters by learning rate and decay.

    Args:
        model: what of it has a gradient is trained.
        lr: of everything outside the backbone.
        weight_decay: on matrices and kernels; norms, biases, tokens and positions have none.
        layer_decay: the backbone's layer i learns at ``lr * layer_decay ** (depth + 1 - i)`` (Bao et al., BEiT, 2021).
        muon: whether Muon moves the matrices inside the transformer layers that learn, at `MUON_RATE` times the rate.
        trunk: learning rate and decay per stage of a pretrained network that reads the crops, as of a pretrained
            backbone; Muon moves none of it. None: as the rest.

    Returns:
        The optimiser; each group has a ``name`` (``new``, ``layer-00``, ...) for the log.
    """
    backbone, body = model.backbone, model.roi_head.body
    groups: dict[tuple[str, bool, bool], list[Tensor]] = {}
    rates: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        group, rate = "new", lr
        if name.startswith(BACKBONE) and layer_decay < 1:
            layer = backbone.layer_index(name.removeprefix(BACKBONE))
            group, rate = f"layer-{layer:02d}", lr * layer_decay ** (backbone.depth + 1 - layer)
        by_muon = muon and is_hidden_matrix(name, parameter)
        if trunk is not None and isinstance(body, ConvPyramid) and name.startswith(TRUNK):
            stage, by_muon = stage_of(name.removeprefix(TRUNK)), False
            group, rate = f"trunk-{stage:02d}", trunk[0] * trunk[1] ** (body.trunk.depth + 1 - stage)
        rates[group] = rate
        kind = (group, by_muon, is_decayed(name, parameter))
        groups.setdefault(kind, []).append(parameter)
    matrices: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for (group, matrix, decayed), parts in sorted(groups.items(), key=lambda item: item[0]):
        row = {"params": parts, "weight_decay": weight_decay if decayed else 0.0, "name": group}
        chosen, rate = (matrices, MUON_RATE * rates[group]) if matrix else (rest, rates[group])
        chosen.append({**row, "name": f"{group}-matrices" if matrix else group, "lr": rate})
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in model.parameters())
    return MuonWithAdamW(matrices, rest, fused) if matrices else AdamW(rest, fused=fused)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether this is a matrix between two hidden layers, which is what Muon is made for."""
    hidden = _HIDDEN.search(name) is not None and _NOT_HIDDEN.search(name) is None
    return parameter.ndim == 2 and hidden and is_decayed(name, parameter)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: not to norms, biases, learned tokens, positions and embeddings."""
    return parameter.ndim > 1 and _NEVER_DECAYED.search(name) is None


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The present rate of the new parts, and of the deepest and the topmost backbone layer where they differ."""
    rates = {str(group["name"]): float(group["lr"]) for group in optimizer.param_groups}
    layers = sorted(name for name in rates if re.fullmatch(r"layer-\d+", name))
    chosen = {"new": rates["new"]} if "new" in rates else {}
    if layers:
        chosen |= {"backbone_first": rates[layers[0]], "backbone_last": rates[layers[-1]]}
    return chosen


class Schedule:
    """Fraction of the peak learning rate at one step: linear warm-up, then cosine to 1 percent.

    A function of the step alone, so that a resumed run can't drift. `LambdaLR`, which is stepped once after every step
    of the optimiser, saves its attributes.

    Attributes:
        total, warmup: steps.
        anchor, progress: the step from which the cosine goes on evenly to its end, and how far it was there, 0 to 1.
    """

    def __init__(self, total: int, warmup: int) -> None:
        self.total, self.warmup = total, warmup
        self.anchor, self.progress = warmup, 0.0

    def __call__(self, step: int) -> float:
        """The fraction."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * self._progress(step))) / 2

    def _progress(self, step: int) -> float:
        share = (step - self.anchor) / max(self.total - 1 - self.anchor, 1)
        return min(self.progress + (1 - self.progress) * share, 1.0)

    def end_at(self, total: int, step: int) -> None:
        """From this step on, the cosine goes on from where it is to its end at another total, without a jump."""
        if step > self.warmup:
            self.anchor, self.progress = step, self._progress(step)
        self.total = total


def end_schedule_at(scheduler: LambdaLR, total: int) -> None:
    """`Schedule.end_at` for all groups, which share one, from the present step on."""
    schedule = scheduler.lr_lambdas[0]
    assert isinstance(schedule, Schedule)
    schedule.end_at(total, scheduler.last_epoch)


def one_cycle(optimizer: Optimizer, lr: float, steps: int, warm_up: float) -> OneCycleLR:
    """A rise to the rate in a fraction of the steps, then a cosine; where that is one step, without the rise.

    With a rise of one step OneCycleLR divides by zero.
    """
    return OneCycleLR(optimizer, lr, total_steps=steps, pct_start=warm_up if warm_up * steps != 1 else 0.0)
