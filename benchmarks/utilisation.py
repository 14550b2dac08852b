"""How much of a device's matrix rate a training step uses: python benchmarks/utilisation.py --size b16 --imgsz 480x640.

With --plan nothing is timed: FLOPs and bytes of a step are counted, and what they take on a device of the given rates.
FLOPs are those of products and convolutions in one real step of one image, forward and backward, a multiply-add
counted as 2; what is computed again for a smaller memory doesn't count twice. Bytes are the fewest that a step can
move: activations written and read once, weights, gradients, the optimiser's state and the average as often as the
arithmetic needs them.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.memory import PEOPLE, Memory, count_without_numbers, make_model
from benchmarks.train_step import make_batch, make_training
from sia.commands.values import image_size
from sia.errors import exit_status
from sia.registry import list_models
from sia.runtimes.device import choose_device, fastest_dtype
from stages.training.compilation import compile_blocks

WARM_UP, STEPS = 3, 10
MOVES = {"weights": 4, "gradients": 2, "optimiser": 2, "average": 2, "activations": 2}
"""How often a step has to read or write each part at least. Weights: read forward, backward and by the optimiser, which
writes them."""


@dataclass(frozen=True)
class Plan:
    """What a step of one image needs.

    Attributes:
        flops: of its products and convolutions.
        fixed: bytes held whatever the batch: weights, gradients, optimiser, average.
        image: bytes of activations that each image adds.
        moved: bytes moved at least for the fixed part.
    """

    flops: int
    fixed: int
    image: int
    moved: int

    def batch_in(self, memory: float) -> int:
        """Images whose step fits into so many bytes; 0 where not even one does."""
        return max(0, int((memory - self.fixed) // self.image))

    def seconds(self, batch: int, rate: float, bandwidth: float) -> tuple[float, float]:
        """Of the products at so many FLOP/s, and of the moves at so many bytes a second."""
        return batch * self.flops / rate, (self.moved + MOVES["activations"] * batch * self.image) / bandwidth


def count_flops(model: str, size: str, imgsz: tuple[int, int]) -> int:
    """FLOPs of a real training step of one image, optimiser left out."""
    training, batch = make_training("fp32", model, size, imgsz, 0), make_batch(1, imgsz, PEOPLE, 0)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        output = training.model(batch.images, batch)
        losses = training.criterion(output, batch, float(PEOPLE))
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
    return int(counter.get_total_flops())


def make_plan(model: str, size: str, imgsz: tuple[int, int], mode: str) -> Plan:
    """Counts FLOPs of one image's step, and bytes of steps of one and of two images."""
    build = functools.partial(make_model, model, size, None, imgsz, mode, 0)
    one, two = (count_without_numbers(build, make_batch(n, imgsz, PEOPLE, 0), torch.bfloat16) for n in (1, 2))
    image = two.activations - one.activations
    fixed = one.total - image
    return Plan(count_flops(model, size, imgsz), fixed, image, _moved(one))


def _moved(memory: Memory) -> int:
    return sum(times * getattr(memory, part) for part, times in MOVES.items() if part != "activations")


def matrix_rate(device: torch.device, sides: Sequence[int]) -> float:
    """FLOP/s of the best of square products, in the arithmetic of `fastest_dtype`."""
    best = 0.0
    for side in sides:
        a = torch.randn(side, side, device=device, dtype=fastest_dtype(device))
        seconds = timed(lambda a=a: a @ a, device)  # type: ignore[misc]
        best = max(best, 2 * side**3 / seconds)
    return best


def arithmetic(device: torch.device) -> str:
    """The name of `fastest_dtype`, as in `MODES` of train_step.py."""
    return "bf16" if fastest_dtype(device) == torch.bfloat16 else "fp32"


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a call, first calls aside."""
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def report_measured(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """A row for each batch: how fast, and how much of the rate."""
    device = choose_device(args.device).torch
    rate = matrix_rate(device, args.sides or ((4096, 8192) if device.type == "cuda" else (1024, 2048)))
    flops = count_flops(args.model, args.size, args.imgsz)
    products = f"{rate / 1e12:.3g} TFLOP/s in products of {arithmetic(device)} on {device}"
    say(f"{flops / 1e9:.1f} GFLOPs an image; {products}\n")
    say("| batch | ms | img/s | TFLOP/s | of the rate | peak GB |\n|--:|--:|--:|--:|--:|--:|")
    for count in args.batches:
        seconds, peak = measure_step(args, count, device)
        done = count * flops / seconds
        say(
            f"| {count} | {1000 * seconds:.0f} | {count / seconds:.1f} | {done / 1e12:.3g} "
            f"| {100 * done / rate:.0f} % | {peak} |"
        )


def measure_step(args: argparse.Namespace, count: int, device: torch.device) -> tuple[float, str]:
    """Seconds of a step, and the peak of the GPU's memory in GB."""
    cuda, mode = device.type == "cuda", arithmetic(device)
    mode = f"{mode}, fused attention" if cuda and mode == "bf16" else mode
    training = make_training(mode, args.model, args.size, args.imgsz, 0, device)
    training.model.backbone.recompute = args.recompute
    if args.compile:
        compile_blocks(training.model)
    batch = make_batch(count, args.imgsz, PEOPLE, 0).to(device)
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = timed(functools.partial(training.step, batch), device)
    return seconds, f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f}" if cuda else "-"


def report_plan(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """A row for each batch: the least time that products and moves take, and the memory."""
    plan = make_plan(args.model, args.size, args.imgsz, "all, recomputed" if args.recompute else "all")
    say(
        f"{plan.flops / 1e9:.1f} GFLOPs an image; {plan.fixed / 1e9:.2f} GB whatever the batch, "
        f"{plan.image / 1e9:.3f} GB an image; {plan.batch_in(args.memory * 1e9)} images in {args.memory:g} GB\n"
    )
    say("| batch | products ms | moves ms | img/s at half the rate | GB |\n|--:|--:|--:|--:|--:|")
    for count in args.batches:
        products, moves = plan.seconds(count, args.rate * 1e12, args.bandwidth * 1e12)
        held = plan.fixed + count * plan.image
        say(
            f"| {count} | {1000 * products:.1f} | {1000 * moves:.1f} | {count / max(2 * products, moves):.0f} "
            f"| {held / 1e9:.1f} |"
        )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="sia_pose_simple", choices=list_models(), help="variant (default: %(default)s)")
    add("--size", default="b16", help="size (default: %(default)s)")
    add("--imgsz", type=image_size, default=(480, 640), help="input size in pixels, N or HxW (default: 480x640)")
    add("--batches", type=int, nargs="+", default=[8, 16, 32, 64], help="images a step (default: 8 16 32 64)")
    add("--sides", type=int, nargs="+", help="of the square products (default: 4096 8192; on a CPU 1024 2048)")
    add("--recompute", action="store_true", help="as --RECOMPUTE of train_pose.py")
    add("--compile", action="store_true", help="as --COMPILE of train_pose.py; not counted by --plan")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="what to measure on (default: %(default)s)")
    add("--plan", action="store_true", help="count only, for a device of the following rates")
    add("--rate", type=float, default=989.0, help="TFLOP/s of dense bf16 products (default: 989, NVIDIA's H100 SXM)")
    add("--bandwidth", type=float, default=3.35, help="TB/s of its memory (default: 3.35, the same)")
    add("--memory", type=float, default=8.0, help="GB that a step should fit into (default: 8)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """The table, and what it is of."""
    (report_plan if args.plan else report_measured)(args, lambda line: print(line, flush=True))
    print(
        f"\n{args.model} {args.size}, {args.imgsz[0]}x{args.imgsz[1]} px, {PEOPLE} people an image, "
        f"{'bf16, ' if args.plan else ''}{'recomputed, ' if args.recompute else ''}torch {torch.__version__}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    raise SystemExit(main())
