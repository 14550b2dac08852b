"""Steps that only measure: how long they take (-TIME), and how many images they hold (-BS auto)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import islice

import torch
from torch import nn

from sia.batch import PoseBatch
from sia.losses.criterion import PoseCriterion
from sia.model import PoseModel
from sia.runtimes.device import memory
from stages.training.auto_config import Plan
from stages.training.data import Data
from stages.training.phases import start_phase
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext, wrap
from utils.memory import keeping

MOST = {"cuda": 256, "mps": 64, "cpu": 32}
"""Images of a batch; a CPU is no faster with more."""
STEPS = 10
"""An epoch has at least so many steps, so that few images still teach something."""
SHARE = 0.85
"""Of the free memory that is used: images have more or fewer people in them."""
TEMPORARY = 2
"""What a step on a CPU needs at its peak, as a multiple of what is kept for the gradient."""
LOOKED_AT = 16
"""Images of which that with the most people is measured."""


@contextlib.contextmanager
def on_trial(model: PoseModel) -> Iterator[None]:
    """The weights are afterwards as before."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    model.load_state_dict(before)
    model.zero_grad(set_to_none=True)


def trial_steps(
    config: TrainConfig, plan: Plan, model: PoseModel, data: Data, ranks: DistributedContext
) -> Callable[[list[PoseBatch]], None]:
    """What does a step of the optimiser, of the run's last phase, with the batches of one step."""
    optimizer, _ = start_phase(model, plan.phases[-1], config.wd)
    network, device = wrap(model, ranks).train(), ranks.device.torch
    criterion = PoseCriterion(torch.tensor(data.train.skeleton.sigmas)).to(device)

    def step(batches: list[PoseBatch]) -> None:
        for batch in batches:
            here = batch.to(device)
            with torch.autocast(device.type, dtype=plan.dtype, enabled=plan.dtype != torch.float32):
                output = network(here.images, here)
            losses = criterion(output, here, max(float(here.people.sum()), 1.0))
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0).item()  # waits for a GPU
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def fit_to_memory(
    config: TrainConfig, plan: Plan, ranks: DistributedContext, data: Data, model: PoseModel
) -> tuple[int, str]:
    """-BS auto: the largest batch that fits on every rank, and a line about it. All ranks must call it.

    Args:
        config: with a batch of one image.
        plan: of it.
        ranks: this process among its peers.
        data: to take images from.
        model: on its device; its weights are afterwards as before.
    """
    device, alone = ranks.device.torch, replace(ranks, world_size=1)  # a rank that is full must not keep others waiting
    most = max(1, min(MOST[device.type], len(data.train) // (ranks.world_size * config.accum * STEPS)))
    data.training.set_epoch(0)
    image = max(islice(data.training, LOOKED_AT), key=lambda batch: int(batch.people.sum()))
    data.training.close()
    with on_trial(model):
        step = trial_steps(config, plan, model, data, alone)
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
            fits = search(lambda count: _peak(step, repeated(image, count), device), SHARE * free, most)
            torch.cuda.empty_cache()
        else:
            free = memory()[1] // ranks.local_world_size
            with keeping(model) as kept:
                step([image])
            fixed = 4 * sum(parameter.nbytes for parameter in model.parameters())  # gradients, optimiser, average
            fits = max(1, min(most, int((SHARE * free - fixed) / (TEMPORARY * max(1, sum(kept.values()))))))
    fits = min(ranks.gather(fits))
    why = f"the most that is sensible for {len(data.train)} images on {device.type}" if fits == most else "what fits"
    return fits, f"{fits} (-BS auto): {why}; {free / 1e9:.1f} GB of memory are free"


def _peak(step: Callable[[list[PoseBatch]], None], batch: PoseBatch, device: torch.device) -> int | None:
    """Bytes on the GPU at most in a step; None where they don't suffice."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step([batch])
    except torch.OutOfMemoryError:
        return None
    return int(torch.cuda.max_memory_reserved(device))


def search(peak: Callable[[int], int | None], limit: float, most: int) -> int:
    """The largest number of images whose step stays below a limit: doubled, then estimated, then backed off.

    Args:
        peak: bytes of a step with so many images; None where the memory is full.
        limit: in bytes.
        most: images.
    """
    fits, used = 1, [float(peak(1) or limit)]
    while 2 * fits <= most:
        bytes_ = peak(2 * fits)
        if bytes_ is None or bytes_ > limit:
            break
        fits, used = 2 * fits, [*used, float(bytes_)]
    each = (used[-1] - used[-2]) / (fits / 2) if len(used) > 1 else limit
    guess = min(most, 2 * fits - 1, fits + int((limit - used[-1]) / max(each, 1.0)))
    while guess > fits:
        bytes_ = peak(guess)
        if bytes_ is not None and bytes_ <= limit:
            return guess
        guess = max(fits, int(0.9 * guess))
    return fits


def repeated(batch: PoseBatch, count: int) -> PoseBatch:
    """The one image of a batch, so many times."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "files"}
    grown = {name: tensor.repeat(count, *[1] * (tensor.ndim - 1)) for name, tensor in tensors.items()}
    return replace(batch, **grown, files=batch.files * count)
