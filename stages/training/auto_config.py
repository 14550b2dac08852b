"""The automatic choices of a training, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sia.errors import ConfigError
from sia.runtimes.device import multiplies_bf16, usable_cores
from sia.sia_vision import TrainableParts
from stages.training.initialization import Pretrained
from stages.training.phases import Phase, freeze_epochs_of
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext
from utils.ema import decay_for

SMALL = ("test", "p32", "n16", "h16", "n32", "ti16")
ENOUGH_STEPS = 3000
"""Fewer are said to be few, however many the images: on 3,000 synthetic close-ups AP was 3.7 after as many."""
RATES: dict[str, tuple[float, float, str]] = {
    "random": (2e-3, 5e-4, "random start, {}"),
    "pretrained": (1.5e-4, 1.5e-4, "pretrained start"),
    "ours": (1.4e-3, 1.4e-3, "a model of ours, {}"),
    "adapters": (5e-4, 5e-4, "adapters"),
    "nothing": (1e-3, 5e-4, "heads alone, {}"),
}
"""Peak learning rate for a batch of 16 of the small sizes and of the others, by what starts or is trained."""
LAYER_DECAY = 0.8
"""Of pretrained layers."""
SPANS: dict[TrainableParts, str] = {
    "nothing": "epochs {} to {}, backbone frozen: ",
    "adapters": "epochs {} to {}, adapters: ",
    "all": "epochs {} to {}: ",
}
Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plan:
    """What -LR auto and its kin became.

    Attributes:
        phases: in order; each has learning rates and a schedule of its own.
        total_steps: steps of the optimiser in all of them.
        ema: decay of the averaged weights.
        plain_epochs: last epochs without mosaic.
        workers: loader processes per training process.
        dtype: of the model's arithmetic; float32 means no autocast.
        lines: label and text of each choice, for the start block.
    """

    phases: tuple[Phase, ...]
    total_steps: int
    ema: float
    plain_epochs: int
    workers: int
    dtype: torch.dtype
    lines: Lines


def make_plan(
    config: TrainConfig,
    ranks: DistributedContext,
    batches: int,
    workers: int,
    pretrained: Pretrained,
    most: int | None = None,
) -> Plan:
    """Resolves every automatic choice.

    Args:
        config: the flags.
        ranks: this process among its peers.
        batches: of one epoch, on one rank.
        workers: from `choose_workers`.
        pretrained: which parts start from trained weights.
        most: steps of the optimiser, where the last epoch is cut short (-TIME).

    Raises:
        ConfigError: flags that don't go with this start or this device.
    """
    dtype, precision = choose_precision(config.precision, ranks.device.torch)
    steps = math.ceil(batches / config.accum)
    total = min(steps * config.epoch, most) if most else steps * config.epoch
    batch = config.bs * config.accum * ranks.world_size
    phases, phase_lines = plan_phases(config, steps, batch, pretrained, total)
    few = ""
    if total < ENOUGH_STEPS and not pretrained.is_whole:
        few = f"; few: heads from scratch want {ENOUGH_STEPS} (-EPOCH {math.ceil(ENOUGH_STEPS / steps)})"
    ema = config.ema if config.ema is not None else decay_for(total)
    plain = config.plain_epochs if config.plain_epochs is not None else config.epoch // 10
    lines = (
        ("precision", precision),
        ("batch", f"{batch} = {config.bs} (-BS) x {config.accum} (-ACCUM) x {ranks.world_size} (processes)"),
        ("steps", f"{total} = {config.epoch} epochs x {steps}{few}"),
        *phase_lines,
        ("averaging", f"{ema:.6g} a step ({'1 - 10 / steps' if config.ema is None else 'as asked by -EMA'})"),
        ("augmentation", f"mosaic {config.mosaic:g}; the last {plain} epochs without it"),
        ("loading", f"{workers} worker{'s' if workers != 1 else ''} a process"),
    )
    return Plan(phases, total, ema, plain, workers, dtype, lines)


def plan_phases(
    config: TrainConfig, steps: int, batch: int, pretrained: Pretrained, total: int | None = None
) -> tuple[tuple[Phase, ...], Lines]:
    """The phases and what to say about them.

    Args:
        config: the flags.
        steps: of the optimiser in an epoch.
        batch: images a step, over all processes.
        pretrained: which parts start from trained weights.
        total: steps of the run, where its last epoch is cut short.

    Raises:
        ConfigError: a flag that keeps weights as they are, with a random start.
    """
    frozen_parts = "--CERTAINTY_ONLY" if config.certainty_only else "--FREEZE_ROI" if config.freeze_roi else ""
    if not pretrained.is_trained and (config.lora or config.freeze_epochs or frozen_parts):
        flag = f"-LORA {config.lora}" if config.lora else f"-FREEZE_EPOCHS {config.freeze_epochs}"
        raise ConfigError(
            f"{frozen_parts or flag} would keep random weights as they are. Give trained ones with -BACKBONE or "
            "--RESUME."
        )
    if frozen_parts and not (pretrained.is_whole and pretrained.is_complete):
        raise ConfigError(
            f"{frozen_parts} needs weights of this -MODEL, -SIZE and these keypoints. Give them by --RESUME."
        )
    start, reason = _kind_of_start(config, pretrained)
    frozen = config.epoch if config.certainty_only else config.freeze_epochs
    if frozen is None:
        frozen = freeze_epochs_of(config.epoch, steps) if pretrained.is_trained and not pretrained.is_whole else 0
    free = start != "pretrained"
    muon = free if config.optimizer == "auto" else config.optimizer == "muon"
    trainable: TrainableParts = "adapters" if config.lora else "all"
    llrd = config.llrd if config.llrd is not None else (1.0 if free or config.lora else LAYER_DECAY)
    spans: list[tuple[TrainableParts, int, int]] = [("nothing", 0, frozen), (trainable, frozen, config.epoch)]
    trunk, trunk_lines = _trunk_rate(config, batch) if pretrained.has_trunk else (None, ())
    phases, lines = [], []
    for what, first, end in spans:
        if first == end:
            continue
        lr, why = _learning_rate(config, batch, start if what == "all" else what)
        count = (total if total and end == config.epoch else end * steps) - first * steps
        warmup = config.warmup if config.warmup is not None else min(1000, max(1, count // 20))
        phases.append(Phase(what, end, count, warmup, lr, llrd, muon, trunk))
        text = f"{SPANS[what].format(first + 1, end)}{lr:.3g} ({why}); warm-up {warmup} steps, then cosine to 1 %"
        lines.append(("learning rate", text))
    kind = "Muon for hidden matrices, AdamW for the rest" if muon else "AdamW"
    decay = "adapters leave weights alone" if config.lora else reason
    return tuple(phases), (
        *lines,
        ("optimiser", f"{kind} ({reason if config.optimizer == 'auto' else 'as asked by -OPTIMIZER'})"),
        ("layer decay", f"{llrd:g} ({decay if config.llrd is None else 'as asked by -LLRD'})"),
        *trunk_lines,
    )


def _kind_of_start(config: TrainConfig, pretrained: Pretrained) -> tuple[str, str]:
    """Of `RATES`, and as words. A small model of ours goes on as from scratch, at 0.7 of the rate.

    After two passes of 3,000 drawn close-ups from weights for photographs, AP was 12.5 so; 10.0 with Muon at 0.4 of
    this rate, 8.4 with AdamW and layer decay as from a pretrained backbone (one seed each).
    """
    if not pretrained.is_trained:
        return "random", "the start is random"
    if pretrained.is_whole and config.size in SMALL and not config.lora and not config.freeze_epochs:
        return "ours", "the start is a model of ours"
    return "pretrained", "the start is pretrained"


def _trunk_rate(config: TrainConfig, batch: int) -> tuple[tuple[float, float], Lines]:
    """Of a pretrained network that reads the crops: what a pretrained backbone gets, whatever the rest starts from."""
    lr, why = _learning_rate(config, batch, "pretrained")
    decay = LAYER_DECAY if config.llrd is None else config.llrd
    return (lr, decay), (("crop network", f"{lr:.3g} ({why}), {decay:g} times as much each stage down; AdamW"),)


def _learning_rate(config: TrainConfig, batch: int, kind: str) -> tuple[float, str]:
    if config.lr is not None:
        return config.lr, "as asked by -LR"
    small, other, why = RATES[kind]
    base = small if config.size in SMALL else other
    scale = min(math.sqrt(batch / 16), 2.0)
    return base * scale, f"{base:g} for {why.format(config.size)}, times {scale:.2f} for the batch of {batch}"


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
        return kinds[wanted], f"{wanted} (as asked by -PRECISION)"
    if fast:
        return torch.bfloat16, f"bf16 (this {device.type} multiplies it faster than fp32; it needs no loss scaling)"
    reason = "the safest on mps" if device.type == "mps" else f"this {device.type} has no instructions for bf16"
    return torch.float32, f"fp32 ({reason})"


def choose_workers(wanted: int | None, processes: int) -> int:
    """Loader processes for each of the training processes of this machine."""
    if wanted is not None:
        return wanted
    return max(0, min(8, usable_cores() // processes - 1))
