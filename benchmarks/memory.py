"""Memory of a training step: python benchmarks/memory.py --count sapiens_1b --measure s16.

Counted: tensors of the real model in a real forward pass, but without any numbers in them, so that a backbone of any
size can be counted anywhere; the matching, which needs numbers, is replaced. Not counted: the losses, the batch, what
the operators use for a moment, and what the allocator keeps.

Measured: how much the peak of the resident memory grows from before the model is built to after two steps, each row in
a process of its own. This holds all that the count leaves out.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.models import peak_memory
from benchmarks.train_step import make_batch
from sia.backbones.lora import add_adapters, halve_frozen
from sia.batch import PoseBatch
from sia.commands.values import image_size
from sia.losses.criterion import PoseCriterion
from sia.model import OTHERS, PoseModel
from sia.modules.roi_keypoint_head import RoIs, rois_around
from sia.registry import ModelConfig, create_model
from sia.skeletons.skeleton import COCO_PERSON
from utils.ema import make_ema
from utils.optimizer import make_optimizer

MODES = ("all", "all, recomputed", "frozen", "adapters", "adapters, halved", "adapters, halved, recomputed")
PARTS = ("weights", "gradients", "optimiser", "average", "activations")
PEOPLE = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of one step, all of which are held together when the gradient is computed."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(getattr(self, part) for part in PARTS)


def make_model(name: str, size: str, backbone: str | None, imgsz: tuple[int, int], mode: str, rank: int) -> PoseModel:
    """A model in training, set up as `train_pose.py` does for the mode."""
    config = ModelConfig(
        name, size, COCO_PERSON.num_keypoints, imgsz, ((0.0, 0.0),) * COCO_PERSON.num_keypoints,
        COCO_PERSON.sigmas, backbone,
    )  # fmt: skip
    model = create_model(config).train()
    model.backbone.set_trainable("nothing" if mode == "frozen" else "all")
    if "adapters" in mode:
        add_adapters(model.backbone, rank)
    if "halved" in mode:
        halve_frozen(model.backbone)
    model.backbone.recompute = "recomputed" in mode
    return model


def count(model: PoseModel, batch: PoseBatch, dtype: torch.dtype) -> Memory:
    """Counts a step with AdamW, which keeps two numbers for each that it trains."""
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    with keeping(model) as kept, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = model(batch.images, batch)
    activations = sum(kept.values())
    del output
    return Memory(weights, trained, 2 * trained, trained, activations)


@contextlib.contextmanager
def keeping(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage of what autograd keeps for the gradient, parameters aside."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is freed could lend its number to another

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def count_without_numbers(build: Callable[[], PoseModel], batch: PoseBatch, dtype: torch.dtype) -> Memory:
    """`count` of a model of any size, in next to no memory."""
    with torch.device("meta"):
        model = build()
    matched: dict[str, Any] = {"match_patches": _match_patches, "match_tokens": _match_tokens}
    looked = mock.patch.object(PoseModel, "_squares", _squares)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, mock.patch.multiple("sia.model", **matched), looked:
        parts: dict[str, Any] = {k: fake.from_tensor(v) if isinstance(v, Tensor) else v for k, v in vars(batch).items()}
        return count(model.to_empty(device="cpu"), PoseBatch(**parts), dtype)


def _match_patches(people: Any, centres: Any, targets: Any, sigmas: Any) -> Any:
    images, patches = people.scores.shape
    best = torch.zeros(images, targets.people.shape[1], dtype=torch.long)
    return mock.Mock(person=torch.zeros(images, patches, dtype=torch.long), best=best)


def _squares(model: PoseModel, output: Any, seen: Any, truth: Any) -> RoIs:
    """As many as in a real step: one for each person, and for `OTHERS` an image."""
    images, people = truth.people.shape
    image = torch.arange(images).repeat_interleave(people + OTHERS)
    row = torch.arange(people + OTHERS).repeat(images)
    return rois_around(seen.boxes[image, row], image, row)


def _match_tokens(layer: Any, targets: Any, sigmas: Any, groups: int) -> Tensor:
    return torch.zeros(len(layer.scores), groups, targets.people.shape[1], dtype=torch.long)


def measure(arguments: tuple[Any, ...], count_of: int, imgsz: tuple[int, int], dtype: torch.dtype, pipe: Any) -> None:
    """Sends the growth of the peak of resident memory through two steps, in bytes."""
    torch.set_num_threads(1)
    batch, criterion = make_batch(count_of, imgsz, PEOPLE, 0), PoseCriterion(torch.tensor(COCO_PERSON.sigmas))
    before = peak_memory()
    model = make_model(*arguments)
    backbone = model.backbone
    options: dict[str, Any] = {"layer_decay": 0.8, "layer_index": backbone.layer_index, "depth": backbone.depth}
    optimizer = make_optimizer(model, lr=1e-4, weight_decay=0.05, muon=False, **options)
    average = make_ema(model, 0.999)
    for _ in range(2):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = model(batch.images, batch)
        torch.autograd.backward(torch.stack(list(criterion(output, batch, PEOPLE).values())).sum())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(model)
    pipe.send(peak_memory() - before)


def measure_apart(*arguments: Any) -> int:
    """`measure` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(*arguments, there))
    process.start()
    there.close()
    try:
        return int(here.recv())
    finally:
        process.join()


def report(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """A table row for each backbone and mode."""
    dtype = getattr(torch, args.dtype)
    say(f"| backbone | what learns | {' | '.join(PARTS)} | counted MB | measured MB |")
    say("|-|-|" + "--:|" * (len(PARTS) + 2))
    for name in (*args.count, *args.measure):
        size, backbone = (name, None) if name in ("test", "n16", "ti16", "s16", "b16", "l14") else (args.size, name)
        for mode in args.modes:
            arguments = (args.model, size, backbone, args.imgsz, mode, args.rank)
            batch = make_batch(args.batch, args.imgsz, PEOPLE, 0)
            counted = count_without_numbers(lambda a=arguments: make_model(*a), batch, dtype)  # type: ignore[misc]
            peak = measure_apart(arguments, args.batch, args.imgsz, dtype) if name in args.measure else None
            parts = " | ".join(_megabytes(getattr(counted, part)) for part in PARTS)
            shown = "-" if peak is None else _megabytes(peak)
            say(f"| {name} | {mode} | {parts} | {_megabytes(counted.total)} | {shown} |")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f}"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--count", nargs="*", default=[], help="sizes or backbones (timm's names, sapiens_1b) to count only")
    add("--measure", nargs="*", default=[], help="sizes or backbones to count and to measure")
    add("--model", default="sia_pose_simple", help="variant (default: %(default)s)")
    add("--size", default="l14", help="tokens and widths around a named backbone (default: %(default)s)")
    add("--imgsz", type=image_size, default=(256, 256), help="input size in pixels, N or HxW (default: 256)")
    add("--batch", type=int, default=1, help="images a step (default: 1)")
    add("--rank", type=int, default=16, help="of the adapters (default: 16)")
    add("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="arithmetic (default: %(default)s)")
    add("--modes", nargs="+", default=list(MODES), choices=MODES, help="what learns (default: all)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(argv)
    report(args, lambda line: print(line, flush=True))
    print(f"\n{args.model}, {args.imgsz[0]}x{args.imgsz[1]} px, {args.batch} image(s) a step, {args.dtype}, "
          f"rank {args.rank}, {PEOPLE} people an image, torch {torch.__version__}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
