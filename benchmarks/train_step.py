"""Time of a training step, and of its parts: python benchmarks/train_step.py --sides 128 192.

Kinds of arithmetic take turns, step by step, so that they share whatever else the machine does. A step is what training
does between two batches: forward with matching, losses, backward, clipping, optimiser, average of the weights. Loading
is not in it. Milliseconds are CPU time of this process, or on a GPU time on the clock; TFLOP/s are those of products
and convolutions.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import MODELS, launch, machine, peak_memory, table, take_turns
from sia.commands.values import image_size

WARM_UP = 2
HEAD = ("input", "batch", "people", "arithmetic", "img/s", "relative", "TFLOP/s")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add("--model", default="sia_pose_simple", choices=MODELS, help="variant (default: %(default)s)")
    add("--size", default="n16", help="size (default: %(default)s)")
    add(
        "--sides", type=image_size, nargs="+", default=[(128, 128), (192, 192)],
        help="input sizes in pixels, N or HxW (default: 128 192)",
    )  # fmt: skip
    add("--batches", type=int, nargs="+", default=[8], help="images a step (default: 8)")
    add("--people", type=int, nargs="+", default=[4], help="people an image (default: 4)")
    add(
        "--dtypes", nargs="+", choices=("float32", "bfloat16"),
        help="arithmetic (default: float32, and bfloat16 where the processor has instructions for it)",
    )  # fmt: skip
    add("--recompute", action="store_true", help="as --RECOMPUTE of train_pose.py")
    add("--compile", action="store_true", help="as --COMPILE of train_pose.py")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--steps", type=int, default=10, help="steps of each (default: 10)")
    add("--give_back", action="store_true", help="freed memory goes back to the system, unlike in train_pose.py")
    add("--threads", type=int, default=1, help="threads; 0 for PyTorch's own choice (default: 1)")


def measure(args: argparse.Namespace, imgsz: tuple[int, int], count: int, people: int) -> list[list[str]]:
    """A row for each kind of arithmetic."""
    import torch

    from benchmarks.workload import PARTS, adapt, count_flops, make_batch, make_model, make_training
    from sia.runtimes.device import choose_device
    from stages.training.compilation import compile_blocks

    device = choose_device(args.device).torch
    batch = make_batch(count, imgsz, people).to(device)
    trainings = {}
    for name in args.dtypes:
        model = make_model(args.model, args.size, imgsz)
        adapt(model, "recomputed" if args.recompute else "all", 0)
        trainings[name] = make_training(model, getattr(torch, name), device)
        if args.compile:
            compile_blocks(model)
    times = take_turns({name: partial(t.step, batch) for name, t in trainings.items()}, args.steps, WARM_UP)
    flops = count_flops(partial(trainings[args.dtypes[0]].step, batch))
    rows = []
    for name, training in trainings.items():
        seconds, first = statistics.median(times[name]), statistics.median(times[args.dtypes[0]])
        parts = [f"{1000 * statistics.median(training.seconds[part][WARM_UP:]):.0f}" for part in PARTS]
        figures = [f"{count / seconds:.1f}", f"{first / seconds:.2f}", f"{flops / seconds / 1e12:.3g}"]
        rows.append([f"{imgsz[0]}x{imgsz[1]}", str(count), str(people), name, *figures, *parts])
    return rows


def run(args: argparse.Namespace) -> None:
    """Prints a table as it grows."""
    import torch

    from benchmarks.workload import PARTS
    from sia.runtimes.device import choose_device, multiplies_bf16

    fast = multiplies_bf16(choose_device(args.device).torch)
    args.dtypes = args.dtypes or ["float32", *(["bfloat16"] if fast else [])]
    torch.set_num_threads(args.threads or torch.get_num_threads())
    from utils.memory import keep_freed_memory

    kept = not args.give_back and keep_freed_memory()
    rows: list[list[str]] = []
    for imgsz, count, people in itertools.product(args.sides, args.batches, args.people):
        rows += measure(args, imgsz, count, people)
        print(f"{imgsz[0]}x{imgsz[1]} px, {count} images, {people} people: done", file=sys.stderr)
    print(table([*HEAD, *(f"{part} ms" for part in PARTS)], rows))
    memory = torch.cuda.max_memory_allocated() if args.device.startswith("cuda") else peak_memory()
    print(
        f"\n{args.model} {args.size} on {args.device}, {torch.get_num_threads()} thread(s), freed memory "
        f"{'kept' if kept else 'given back'}, {memory / 2**30:.2f} GiB at most\n{machine('seed 0')}"
    )


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
