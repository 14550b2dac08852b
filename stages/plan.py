"""The automatic choices of a training, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from utils.config import TrainConfig
from utils.device import multiplies_bf16, usable_cores
from utils.distributed import Ranks
from utils.ema import decay_for
from utils.errors import ConfigError

_SMALL = ("test", "n16", "n32", "ti16")


@dataclass(frozen=True)
class Plan:
    """What -LR auto and its kin became.

    Attributes:
        lr, muon: peak learning rate of the new parts; whether Muon moves the hidden matrices.
        llrd: decay of the learning rate per backbone layer.
        total_steps, warmup: steps of the optimiser.
        ema: decay of the averaged weights.
        plain_epochs: last epochs without mosaic.
        workers: loader processes per training process.
        dtype: of the model's arithmetic; float32 means no autocast.
        lines: label and text of each choice, for the start block.
    """

    lr: float
    muon: bool
    llrd: float
    total_steps: int
    warmup: int
    ema: float
    plain_epochs: int
    workers: int
    dtype: torch.dtype
    lines: tuple[tuple[str, str], ...]


def make_plan(config: TrainConfig, ranks: Ranks, batches: int, workers: int, pretrained: bool) -> Plan:
    """Resolves every automatic choice.

    Args:
        config: the flags.
        ranks: this process among its peers.
        batches: of one epoch, on one rank.
        workers: from `choose_workers`.
        pretrained: whether the backbone starts from trained weights.
    """
    dtype, precision = choose_precision(config.precision, ranks.device.torch)
    steps = math.ceil(batches / config.accum)
    total = steps * config.epoch
    batch = config.bs * config.accum * ranks.world_size
    lr, lr_reason = _learning_rate(config, batch, pretrained)
    llrd = config.llrd if config.llrd is not None else (0.8 if pretrained else 1.0)
    muon = not pretrained if config.optimizer == "auto" else config.optimizer == "muon"
    kind = "Muon for hidden matrices, AdamW for the rest" if muon else "AdamW"
    warmup = config.warmup if config.warmup is not None else min(1000, max(1, total // 20))
    ema = config.ema if config.ema is not None else decay_for(total)
    plain = config.plain_epochs if config.plain_epochs is not None else config.epoch // 10
    start = "the start is pretrained" if pretrained else "the start is random"
    why = start if config.optimizer == "auto" else _asked("-OPTIMIZER")
    lines = (
        ("precision", precision),
        ("batch", f"{batch} = {config.bs} (-BS) x {config.accum} (-ACCUM) x {ranks.world_size} (processes)"),
        ("steps", f"{total} = {config.epoch} epochs x {steps}"),
        ("learning rate", f"{lr:.3g} ({lr_reason}); warm-up {warmup} steps, then cosine to 1 %"),
        ("optimiser", f"{kind} ({why})"),
        ("layer decay", f"{llrd:g} ({_asked('-LLRD') if config.llrd is not None else start})"),
        ("averaging", f"{ema:.6g} a step ({_asked('-EMA') if config.ema is not None else '1 - 10 / steps'})"),
        ("augmentation", f"mosaic {config.mosaic:g}; the last {plain} epochs without it"),
        ("loading", f"{workers} worker{'s' if workers != 1 else ''} a process"),
    )
    return Plan(lr, muon, llrd, total, warmup, ema, plain, workers, dtype, lines)


def _asked(flag: str) -> str:
    return f"as asked by {flag}"


def _learning_rate(config: TrainConfig, batch: int, pretrained: bool) -> tuple[float, str]:
    if config.lr is not None:
        return config.lr, _asked("-LR")
    base, why = (1.5e-4, "pretrained start") if pretrained else (2e-3, f"random start, {config.size}")
    if not pretrained and config.size not in _SMALL:
        base = 5e-4
    scale = min(math.sqrt(batch / 16), 2.0)
    return base * scale, f"{base:g} for a {why}, times {scale:.2f} for the batch of {batch}"


def choose_precision(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The arithmetic and its reason.

    Raises:
        ConfigError: the device can't do what was asked for.
    """
    cuda, fast = device.type == "cuda", multiplies_bf16(device)
    if wanted == "fp16" and not cuda:
        raise ConfigError(f"-PRECISION fp16 needs a CUDA GPU, but this run is on {device.type}. Use -PRECISION auto.")
    if wanted == "bf16" and cuda and not fast:
        raise ConfigError("-PRECISION bf16: this GPU has none. Use -PRECISION fp16 or fp32.")
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if wanted != "auto":
        return kinds[wanted], f"{wanted} ({_asked('-PRECISION')})"
    if fast:
        return torch.bfloat16, f"bf16 (this {device.type} multiplies it faster than fp32; it needs no loss scaling)"
    reason = "the safest on mps" if device.type == "mps" else f"this {device.type} has no instructions for bf16"
    return torch.float32, f"fp32 ({reason})"


def choose_workers(wanted: int | None, processes: int) -> int:
    """Loader processes for each of the training processes of this machine."""
    if wanted is not None:
        return wanted
    return max(0, min(8, usable_cores() // processes - 1))
