"""Memory of a training step: python benchmarks/memory.py --size s16, or --backbone sapiens_1b --imgsz 512.

Counted: weights, gradients, AdamW's state, the average of the weights, and what autograd keeps of one forward pass, in
MB of 10^6 bytes. Not counted: the losses, what the operators use for a moment, and what the allocator keeps;
train_step.py shows the peak of real steps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import MODELS, launch, machine, table
from sia.commands.values import image_size

if TYPE_CHECKING:
    from benchmarks.workload import Training
    from sia.batch import PoseBatch

MODES = ("all", "all, recomputed", "frozen", "adapters", "adapters, halved", "adapters, halved, recomputed")
PARTS = ("weights", "gradients", "optimiser", "average", "activations")
PEOPLE = 4


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--model", default="sia_pose_simple", choices=MODELS, help="variant (default: %(default)s)")
    add("--size", default="n16", help="size; with --backbone, that of everything else (default: %(default)s)")
    add("--backbone", help="another backbone: timm's names, sapiens_1b")
    add("--imgsz", type=image_size, default=(256, 256), help="input size in pixels, N or HxW (default: 256)")
    add("--batch", type=int, default=1, help="images a step (default: 1)")
    add("--rank", type=int, default=16, help="of the adapters (default: 16)")
    add("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="arithmetic (default: %(default)s)")
    add("--modes", nargs="+", default=list(MODES), choices=MODES, help="what learns (default: all)")


def make(args: argparse.Namespace, mode: str) -> tuple[Training, PoseBatch]:
    """A training with AdamW, and its batch."""
    import torch

    from benchmarks.workload import adapt, make_batch, make_model, make_training

    model = make_model(args.model, args.size, args.imgsz, args.backbone)
    adapt(model, mode, args.rank)
    return make_training(model, getattr(torch, args.dtype), muon=False), make_batch(args.batch, args.imgsz, PEOPLE)


def count(training: Training, batch: PoseBatch) -> dict[str, int]:
    """Bytes by part, all of which are held together when the gradient is computed; AdamW keeps two of each weight."""
    import torch

    from utils.memory import keeping

    model = training.model
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    with keeping(model) as kept, torch.autocast("cpu", training.dtype, enabled=training.dtype != torch.float32):
        output = model(batch.images, batch)
    activations = sum(kept.values())
    del output
    return dict(zip(PARTS, (weights, trained, 2 * trained, trained, activations), strict=True))


def run(args: argparse.Namespace) -> None:
    """Prints a row for each mode."""
    rows = []
    for mode in args.modes:
        counted = count(*make(args, mode))
        values = (*counted.values(), sum(counted.values()))
        rows.append([mode, *(f"{value / 1e6:.0f}" for value in values)])
        print(f"{mode}: done", file=sys.stderr)
    print(table(["what learns", *PARTS, "MB together"], rows))
    what = (
        f"{args.model}, {args.backbone or args.size}, {args.imgsz[0]}x{args.imgsz[1]} px, {args.batch} image(s) a step"
    )
    print(f"\n{what}, {args.dtype}, rank {args.rank}, {PEOPLE} people an image\n{machine()}")


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
