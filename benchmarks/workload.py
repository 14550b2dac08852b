"""A model in training on noise, as `train_pose.py` trains it, for the benchmarks that time or weigh a step."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sia.backbones.lora import add_adapters, halve_frozen
from sia.batch import PoseBatch
from sia.losses.criterion import PoseCriterion
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model
from sia.skeletons.skeleton import COCO_PERSON
from utils.ema import ExponentialMovingAverage
from utils.optimizer import make_optimizer

PARTS = ("forward", "losses", "backward", "update")


@dataclass
class Training:
    """A model in training, and the seconds that its steps took by part: CPU time of this process, or on the clock."""

    model: PoseModel
    criterion: PoseCriterion
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    dtype: torch.dtype
    clock: bool = False
    seconds: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def step(self, batch: PoseBatch) -> float:
        """One step of training, loading aside; returns its seconds."""
        device = batch.images.device
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)
        with self._timed("forward", device), autocast:
            output = self.model(batch.images, batch)
        with self._timed("losses", device):
            loss = torch.stack(list(self.criterion(output, batch, float(batch.people.sum())).values())).sum()
        with self._timed("backward", device):
            torch.autograd.backward(loss)
        with self._timed("update", device):
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.ema.update_parameters(self.model)  # type: ignore[operator]
        return sum(self.seconds[part][-1] for part in PARTS)

    @contextmanager
    def _timed(self, part: str, device: torch.device) -> Iterator[None]:
        start = self._now(device)
        yield
        self.seconds[part].append(self._now(device) - start)

    def _now(self, device: torch.device) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() if self.clock else time.process_time()


def make_model(name: str, size: str, imgsz: tuple[int, int], backbone: str | None = None) -> PoseModel:
    """A model of COCO's people with random weights."""
    torch.manual_seed(0)
    draw = random.Random(0)
    mean_pose = tuple((draw.uniform(-0.5, 0.5), draw.uniform(-0.5, 0.5)) for _ in COCO_PERSON.names)
    return create_model(
        ModelConfig(name, size, COCO_PERSON.num_keypoints, imgsz, mean_pose, COCO_PERSON.sigmas, backbone)
    )


def adapt(model: PoseModel, mode: str, rank: int) -> None:
    """Prepares a model as `train_pose.py` does.

    Args:
        model: is changed.
        mode: words of what learns and how: all, frozen (backbone), adapters, halved (frozen weights), recomputed.
        rank: of the adapters.
    """
    model.backbone.set_trainable("nothing" if "frozen" in mode else "all")
    if "adapters" in mode:
        add_adapters(model.backbone, rank)
    if "halved" in mode:
        halve_frozen(model.backbone)
    model.backbone.recompute = "recomputed" in mode


def make_training(
    model: PoseModel, dtype: torch.dtype, device: torch.device | str = "cpu", muon: bool = True
) -> Training:
    """A model with its optimizer, losses and average; attention on a CPU as the arithmetic has it fastest."""
    model = model.train().to(device)
    model.fuse_attention(torch.device(device).type == "cuda" or dtype == torch.float32)
    optimizer = make_optimizer(model, lr=1e-4, weight_decay=0.05, layer_decay=1.0, muon=muon)
    criterion = PoseCriterion(torch.tensor(COCO_PERSON.sigmas)).to(device)
    ema = ExponentialMovingAverage(model, 0.999)
    return Training(model, criterion, optimizer, ema, dtype, torch.device(device).type == "cuda")


def make_batch(count: int, imgsz: tuple[int, int], people: int) -> PoseBatch:
    """Noise with random people in it: the work of a step doesn't depend on what is seen."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor(imgsz[::-1])  # x, y

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    centres, sizes = noise(count, people, 2) * sides, (0.15 + 0.4 * noise(count, people, 2)) * sides
    corners = torch.stack([centres - sizes / 2, centres + sizes / 2], -2)
    boxes = torch.minimum(corners.clamp(min=0), sides).flatten(-2)
    fractions = noise(count, people, COCO_PERSON.num_keypoints, 2)
    points = boxes[..., None, :2] + fractions * (boxes[..., None, 2:] - boxes[..., None, :2])
    return PoseBatch(
        images=(256 * noise(count, 3, *imgsz)).byte(),
        boxes=boxes,
        keypoints=torch.cat([points, torch.full_like(points[..., :1], 2)], -1),
        areas=sizes.prod(-1),
        people=torch.ones(count, people, dtype=torch.bool),
        ignored=torch.zeros(count, 0, 4),
        image_ids=torch.arange(count),
        letterboxes=torch.tensor([[1.0, 0.0, 0.0]]).expand(count, 3),
        sizes=torch.tensor([imgsz]).expand(count, 2),
        files=["noise"] * count,
    )


def count_flops(work: Callable[[], object]) -> int:
    """FLOPs of matrix products and convolutions in one call, a multiply-add counted as 2.

    The fused attention of CPUs is unknown to the counter, so attention runs as two products.
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        work()
    return int(counter.get_total_flops())
