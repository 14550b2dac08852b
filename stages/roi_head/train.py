"""Trains a RoI keypoint head on cached crops, with the tokens that a frozen model gave their people."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sia.errors import ConfigError, WeightsError
from sia.io.checkpoint import read_state_dict, save_checkpoint
from sia.losses.criterion import LossWeights
from sia.losses.matcher import keypoint_similarity, masked_mean
from sia.model import PoseModel
from sia.modules.conv_pyramid import ConvPyramid, stage_of
from sia.modules.roi_keypoint_head import Found, RoIKeypointHead, RoIs, cross_entropy
from sia.runtimes.device import autocast
from stages.roi_head.crops import CPU, Crops
from stages.roi_head.sampling import CropAugmentation, CropBatch, CropSampler, collate, plain
from utils.ema import ExponentialMovingAverage, decay_for
from utils.optimizer import Schedule

THRESHOLDS = torch.arange(0.5, 0.96, 0.05)
"""Of OKS, as in COCO's AP."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the crops of people.
        batch: crops a step.
        rate: peak learning rate of what starts at random.
        trunk_rate: that of the trunk, as a fraction of it.
        weight_decay: of AdamW, for matrices and kernels.
        frozen: the first stages of the trunk, which keep their weights.
        clip: largest norm of the gradient.
        seed: of the order and of all draws.
        refiner_only: whether the rest of the head stays as it is.
        augmentation: of the crops.
    """

    epochs: float = 16.0
    batch: int = 64
    rate: float = 1e-3
    trunk_rate: float = 0.5
    weight_decay: float = 0.05
    frozen: int = 3
    clip: float = 5.0
    seed: int = 0
    refiner_only: bool = False
    augmentation: CropAugmentation = field(default_factory=CropAugmentation)


def read(model: PoseModel, head: RoIKeypointHead, batch: CropBatch) -> Found:
    """What a head finds in the crops, in units of their longer sides."""
    count = len(batch.images)
    zeros, sides = torch.zeros(count, dtype=torch.int64), torch.tensor([head.size[::-1]]) / max(head.size)
    rois = RoIs(zeros, zeros, torch.zeros(count, 2), sides.expand(count, 2))
    with autocast(CPU):
        pixels = model.backbone.normalise(batch.images).contiguous(memory_format=torch.channels_last)
        return head.read(pixels, batch.tokens, batch.scores, rois)


def losses(found: Found, batch: CropBatch, sigmas: Tensor) -> dict[str, Tensor]:
    """Means over the crops, weighted as in `PoseCriterion`; background teaches the score only."""
    weights = LossWeights()
    points, labelled = batch.keypoints[..., :2], batch.keypoints[..., 2] > 0
    fractions = found.heatmaps.rois.inside(points)
    inside = labelled & ((fractions > 0) & (fractions < 1)).all(-1)
    entropy = masked_mean(cross_entropy(found.heatmaps, fractions), inside.float())
    similarity = _similarity(found, batch, sigmas)
    oks, posed = masked_mean(similarity, labelled.float()), labelled.any(-1).float()
    near = (similarity * labelled).detach()
    confidence = F.binary_cross_entropy_with_logits(found.confidences, near, reduction="none").mean(-1)
    score = F.binary_cross_entropy_with_logits(found.scores, (posed * oks).detach())
    people = posed.sum().clamp(min=1)
    return {
        "heatmap": weights.heatmap * entropy.sum() / people,
        "oks": weights.oks * (posed * (1 - oks)).sum() / people,
        "confidence": weights.confidence * (posed * confidence).sum() / people,
        "score": weights.score * score,
    }


def _similarity(found: Found, batch: CropBatch, sigmas: Tensor) -> Tensor:
    """(n, K) each keypoint's term of OKS."""
    squared = (found.poses.float() - batch.keypoints[..., :2]).square().sum(-1)
    return keypoint_similarity(squared, batch.areas, sigmas)


@torch.no_grad()
def evaluate(model: PoseModel, head: RoIKeypointHead, crops: Crops, batch: int = 64) -> dict[str, float]:
    """On crops as they are: mean OKS of the people, fractions above thresholds, correlation of score and OKS."""
    head.eval()
    scores, oks, posed = [], [], []
    for start in range(0, len(crops), batch):
        rows = collate([plain(crops, row, head.size) for row in range(start, min(start + batch, len(crops)))])
        found, labelled = read(model, head, rows), rows.keypoints[..., 2] > 0
        oks.append(masked_mean(_similarity(found, rows, model.sigmas), labelled.float()))
        posed.append(labelled.any(-1))
        scores.append(found.scores.float().sigmoid())
    everything, people = torch.cat(oks), torch.cat(posed)
    above = (everything[people, None] > THRESHOLDS).float().mean(0)
    return {
        "oks": float(everything[people].mean()),
        "above 0.50": float(above[0]),
        "above 0.75": float(above[5]),
        "above all": float(above.mean()),
        "order": float(torch.corrcoef(torch.stack([torch.cat(scores), everything]))[0, 1]),
    }


class HeadTraining:
    """The state of a training: head, average, optimizer; nothing else of the model is changed."""

    def __init__(self, model: PoseModel, sampler: CropSampler, recipe: Recipe) -> None:
        self.model, self.sampler, self.recipe = model, sampler, recipe
        self.head, self.step = model.roi_head, 0
        self._start_training()
        if isinstance(self.head.body, ConvPyramid) and not recipe.refiner_only:
            keep_strided_exact(self.head.body.trunk.net, recipe.frozen)
        self.average = ExponentialMovingAverage(self.head, decay_for(sampler.steps))
        self.optimizer = torch.optim.AdamW(parameter_groups(self.head, recipe), lr=recipe.rate, betas=(0.9, 0.99))
        self.schedule = Schedule(sampler.steps, max(1, sampler.steps // 50))

    def compile(self) -> None:
        """Compiles what reads the crops (torch.compile): minutes for the first step, half the time for all others."""
        self.head.body.compile()

    def _start_training(self) -> None:
        if self.recipe.refiner_only and self.head.refiner is not None:
            self.head.requires_grad_(False).eval()
            self.head.refiner.requires_grad_(True)
            return
        self.head.train()
        if isinstance(self.head.body, ConvPyramid):
            freeze(self.head.body.trunk.net, self.recipe.frozen)

    def run(self, held_out: Crops, flip_order: Sequence[int], state_file: Path, every: int) -> None:
        """Trains to the end, from where the state file left off; afterwards the model has the averaged head.

        Args:
            held_out: crops to measure on.
            flip_order: of the keypoints in a mirror image.
            state_file: is written every `every` steps.
            every: steps between two measurements.
        """
        if state_file.exists():
            self.load_state(read_state_dict(state_file), state_file)
        fetch = partial(
            self.sampler.read, size=self.head.size, flip_order=flip_order, augmentation=self.recipe.augmentation
        )
        with ThreadPoolExecutor(1) as pool:
            coming, sums, began = pool.submit(fetch, self.step), Counter[str](), time.monotonic()
            while self.step < self.sampler.steps:
                batch, coming = coming.result(), pool.submit(fetch, self.step + 1)
                sums.update(self.train_on(batch))
                if self.step % every and self.step < self.sampler.steps:
                    continue
                save_checkpoint(state_file, self.state())
                taken = time.monotonic() - began
                measured = evaluate(self.model, self._averaged(), held_out)
                parts = " ".join(f"{name} {value / (self.step % every or every):.3f}" for name, value in sums.items())
                shown = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
                print(f"step {self.step}/{self.sampler.steps}: {parts}; {shown}; {taken:.0f} s", flush=True)
                self._start_training()
                sums.clear()
                began = time.monotonic()
        self.head.load_state_dict(self._averaged().state_dict())

    def train_on(self, batch: CropBatch) -> dict[str, float]:
        """One step; returns the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.schedule(self.step)
        parts = losses(read(self.model, self.head, batch), batch, self.model.sigmas)
        self.optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.average.update_parameters(self.head)
        self.step += 1
        return {name: float(value.detach()) for name, value in parts.items()}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "settings": self._settings(), "step": self.step, "head": self.head.state_dict(),
            "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        """What a run has to be continued with."""
        crops = {"people": len(self.sampler.people), "background": len(self.sampler.background)}
        body = self.head.body
        trunk = body.trunk.name if isinstance(body, ConvPyramid) else ""
        refines = self.head.refiner is not None
        return {**crops, **asdict(self.recipe), "roi_size": list(self.head.size), "trunk": trunk, "refiner": refines}

    def load_state(self, state: Mapping[str, Any], source: Path) -> None:
        """Goes on from there.

        Raises:
            ConfigError: it is of a run with other settings.
            WeightsError: it is no such state.
        """
        if not isinstance(state.get("settings"), Mapping) or "optimizer" not in state:
            raise WeightsError(f"{source} is no state of this training. Move it away, or give another --output.")
        before, now = state["settings"], self._settings()
        changed = [
            f"{name} {before.get(name)}, not {value}" for name, value in now.items() if before.get(name) != value
        ]
        if changed:
            raise ConfigError(f"{source} is of a run with {', '.join(changed)}. Give its flags, or another --output.")
        self.step = int(state["step"])
        self.head.load_state_dict(state["head"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _averaged(self) -> RoIKeypointHead:
        head = self.average.module
        assert isinstance(head, RoIKeypointHead)
        return head


def freeze(net: nn.Module, stages: int) -> None:
    """The first stages of a trunk and its depthwise kernels stay, and the statistics of all its batch normalisation.

    Of depthwise kernels there are few, and their gradient on a CPU takes as long as that of all else together.

    Raises:
        ConfigError: nothing would be left to learn.
    """
    for name, parameter in net.named_parameters():
        depthwise = parameter.ndim == 4 and parameter.shape[1] == 1
        parameter.requires_grad_(stage_of(name) >= stages and not depthwise)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ConfigError(
            "Nothing of this network would learn: its layers have other names than blocks or stages. "
            "Choose another --trunk, such as resnet18 or tf_efficientnet_lite0."
        )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def keep_strided_exact(net: nn.Module, frozen: int) -> None:
    """Depthwise convolutions of stride 2 stay in float32: oneDNN's gradient in bfloat16 takes fifty times as long."""
    for name, module in net.named_modules():
        strided = isinstance(module, nn.Conv2d) and module.groups > 1 and module.stride[0] > 1
        if strided and stage_of(name) >= frozen:
            module.forward = partial(_in_float32, module.forward)


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(x.float())


def parameter_groups(head: RoIKeypointHead, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with their peak rates; vectors don't decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            rate = recipe.rate * (recipe.trunk_rate if name.startswith("body.trunk.") else 1.0)
            groups.setdefault((rate, recipe.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": values, "peak": rate, "weight_decay": decay} for (rate, decay), values in groups.items()]
