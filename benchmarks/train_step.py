"""CPU time of a training step, and of its parts: python benchmarks/train_step.py --sides 128 192.

Modes take turns, step by step, so that they share whatever else the machine does. A step is what training does between
two batches: forward, matching, losses, backward, clipping, optimiser, average of the weights. Loading is not in it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.models import peak_memory
from sia.batch import PoseBatch
from sia.commands.values import image_size
from sia.losses.criterion import PoseCriterion
from sia.losses.matcher import match_patches, match_tokens
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model, list_models
from sia.runtimes.device import multiplies_bf16
from sia.skeletons.skeleton import COCO_PERSON
from utils.ema import make_ema
from utils.memory import keep_freed_memory
from utils.optimizer import make_optimizer

MODES = ("fp32", "bf16, fused attention", "bf16")
PARTS = ("forward", "matching", "losses", "backward", "update")
WARM_UP = 2


@dataclass
class Training:
    """A model in training in one mode, and the seconds that its steps took by part."""

    mode: str
    model: PoseModel
    criterion: PoseCriterion
    optimizer: torch.optim.Optimizer
    ema: nn.Module
    seconds: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def step(self, batch: PoseBatch) -> None:
        """One step of training."""
        arithmetic = torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.mode != "fp32")
        with self._timed("forward"), self._matching_apart(), arithmetic:
            output = self.model(batch.images, batch)
        self.seconds["forward"][-1] -= self.seconds["matching"][-1]
        with self._timed("losses"):
            loss = torch.stack(list(self.criterion(output, batch, float(batch.people.sum())).values())).sum()
        with self._timed("backward"):
            torch.autograd.backward(loss)
        with self._timed("update"):
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.ema.update_parameters(self.model)  # type: ignore[operator]

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[part].append(time.process_time() - start)

    @contextmanager
    def _matching_apart(self) -> Iterator[None]:
        """Counts what the model spends on matching, within its forward pass."""
        spent = 0.0

        def timed(match: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any) -> Any:
                nonlocal spent
                start = time.process_time()
                result = match(*args)
                spent += time.process_time() - start
                return result

            return run

        with mock.patch.multiple("sia.model", match_patches=timed(match_patches), match_tokens=timed(match_tokens)):
            yield
        self.seconds["matching"].append(spent)

    def milliseconds(self, part: str) -> float:
        """Median, first steps aside."""
        return 1000 * statistics.median(self.seconds[part][WARM_UP:])


def make_training(
    mode: str, name: str, size: str, imgsz: tuple[int, int], seed: int, device: str | torch.device = "cpu"
) -> Training:
    """A model with random weights, as `train_pose.py` would train it."""
    torch.manual_seed(seed)
    mean_pose = tuple((x, y) for x, y in (torch.rand(COCO_PERSON.num_keypoints, 2) - 0.5).tolist())
    config = ModelConfig(name, size, COCO_PERSON.num_keypoints, imgsz, mean_pose, COCO_PERSON.sigmas)
    model = create_model(config).train().to(device)
    model.fuse_attention(mode != "bf16")
    backbone = model.backbone
    optimizer = make_optimizer(
        model, lr=1e-4, weight_decay=0.05, layer_decay=1.0, layer_index=backbone.layer_index, depth=backbone.depth,
        muon=True,
    )  # fmt: skip
    criterion = PoseCriterion(torch.tensor(COCO_PERSON.sigmas)).to(device)
    return Training(mode, model, criterion, optimizer, make_ema(model, 0.999))


def make_batch(count: int, imgsz: tuple[int, int], people: int, seed: int) -> PoseBatch:
    """Noise with random people in it: the work of a step doesn't depend on what is seen."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor(imgsz[::-1])  # x, y

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    centres, sizes = random(count, people, 2) * sides, (0.15 + 0.4 * random(count, people, 2)) * sides
    corners = torch.stack([centres - sizes / 2, centres + sizes / 2], -2)
    boxes = torch.minimum(corners.clamp(min=0), sides).flatten(-2)
    shares = random(count, people, COCO_PERSON.num_keypoints, 2)
    points = boxes[..., None, :2] + shares * (boxes[..., None, 2:] - boxes[..., None, :2])
    return PoseBatch(
        images=(256 * random(count, 3, *imgsz)).byte(),
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


def measure(args: argparse.Namespace, report: Callable[[str], None]) -> None:
    """Reports a row for each side, batch, number of people and mode."""
    report("| input | batch | people | mode | img/s | relative | " + " | ".join(f"{part} ms" for part in PARTS) + " |")
    report("|-|-|-|-" + "|--:" * (2 + len(PARTS)) + "|")
    for height, width in args.sides:
        for count in args.batches:
            for people in args.people:
                batch = make_batch(count, (height, width), people, args.seed)
                trainings = [
                    make_training(mode, args.model, args.size, (height, width), args.seed) for mode in args.modes
                ]
                for _ in range(WARM_UP + args.steps):
                    for training in trainings:
                        training.step(batch)
                _report_rows(trainings, f"| {height}x{width} | {count} | {people} |", count, report)


def _report_rows(trainings: Sequence[Training], start: str, count: int, report: Callable[[str], None]) -> None:
    speeds = [1000 * count / sum(training.milliseconds(part) for part in PARTS) for training in trainings]
    for training, speed in zip(trainings, speeds, strict=True):
        parts = " | ".join(f"{training.milliseconds(part):.0f}" for part in PARTS)
        report(f"{start} {training.mode} | {speed:.1f} | {speed / speeds[0]:.2f} | {parts} |")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="sia_pose_simple", choices=list_models(), help="variant (default: %(default)s)")
    add("--size", default="n16", help="size (default: %(default)s)")
    add(
        "--sides",
        type=image_size,
        nargs="+",
        default=[(128, 128), (192, 192)],
        help="input sizes in pixels, N or HxW (default: 128 192)",
    )
    add("--batches", type=int, nargs="+", default=[8], help="images a step (default: 8)")
    add("--people", type=int, nargs="+", default=[4], help="people an image (default: 4)")
    fast = MODES if multiplies_bf16(torch.device("cpu")) else MODES[:1]
    add(
        "--modes", nargs="+", default=list(fast), choices=MODES,
        help="arithmetic (default: all; fp32 alone where the processor has no instructions for bf16)",
    )  # fmt: skip
    add("--steps", type=int, default=10, help="steps of each (default: 10)")
    add("--give_back", action="store_true", help="freed memory goes back to the system, unlike in train_pose.py")
    add("--threads", type=int, default=1, help="threads (default: 1)")
    add("--seed", type=int, default=0, help="of weights and people (default: 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    kept = not args.give_back and keep_freed_memory()
    measure(args, lambda line: print(line, flush=True))
    memory = f"freed memory {'kept' if kept else 'given back'}, {peak_memory() / 2**30:.2f} GiB at most"
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, seed {args.seed}"
    print(f"\n{args.model} {args.size}, {args.threads} thread(s), {memory}, {machine}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
