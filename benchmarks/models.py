"""Parameters, FLOPs and CPU time of every variant and size: python benchmarks/models.py --output table.md.

One multiply-add counts as 2 FLOPs. Attention is counted; interpolation, sampling and pointwise functions are not.
One person is looked at a second time; everyone else who is likely there adds the same again. Times are CPU seconds of
this process for one image at a time, so other programs disturb them less than a clock's.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental import _config as tracing
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.backbones.build import SIZES
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model, list_models
from sia.skeletons.skeleton import COCO_PERSON

FULL_ENCODERS = ("sia_pose_simple", "sia_pose")


@dataclass
class Measured:
    """One variant of one size at one input side.

    Attributes:
        name: the variant.
        size: the size.
        side: of the square input, pixels.
        parameters: how many.
        flops: of one image, a multiply-add counted as 2.
        times: CPU seconds of each run.
    """

    name: str
    size: str
    side: int
    parameters: int
    flops: int
    times: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Median CPU milliseconds an image; NaN where nothing was timed."""
        return 1000 * statistics.median(self.times) if self.times else float("nan")


def build(name: str, size: str, side: int) -> PoseModel:
    """A model of COCO's people with random weights that looks at one person, ready for inference."""
    count = COCO_PERSON.num_keypoints
    config = ModelConfig(name, size, count, (side, side), ((0.0, 0.0),) * count, COCO_PERSON.sigmas)
    model = create_model(config).eval().requires_grad_(False)
    model.head_config = replace(model.head_config, people=1)
    return model


def count_flops(model: torch.nn.Module, *inputs: Tensor) -> int:
    """FLOPs of one call. The fused attention of CPUs is unknown to the counter, so attention runs as two products."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        model(*inputs)
    return int(counter.get_total_flops())


def count(name: str, size: str, side: int) -> Measured:
    """Parameters and FLOPs, without computing anything: the shapes alone tell."""
    everyone = tracing.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with torch.device("meta"), everyone:
        model = build(name, size, side)
        flops = count_flops(model, torch.empty(1, 3, side, side, dtype=torch.uint8))
    return Measured(name, size, side, sum(p.numel() for p in model.parameters()), flops)


class _Attention(torch.nn.Module):
    def forward(self, q: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)


def check_counter() -> None:
    """Attention of L tokens, h heads of d channels is two products of 2 h L L d FLOPs each: the counter must agree."""
    heads, length, width = 3, 50, 16
    counted = count_flops(_Attention(), torch.randn(1, heads, length, width), torch.ones(length, length).bool())
    expected = 4 * heads * length * length * width
    if counted != expected:
        raise SystemExit(
            f"error: the counter finds {counted} FLOPs in an attention of {expected}: wrong torch version?"
        )


def measure(size: str, side: int, runs: int, seconds: float, most_gflops: float) -> list[Measured]:
    """All variants, their runs interleaved so that a busy moment of the machine hits them alike."""
    rows = [count(name, size, side) for name in list_models()]
    if runs == 0 or max(row.flops for row in rows) > most_gflops * 1e9:
        return rows
    models = {row.name: build(row.name, size, side) for row in rows}
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    started = time.process_time()
    for turn in range(runs + 1):
        for row in rows:
            begin = time.process_time()
            with torch.inference_mode():
                models[row.name](image)
            if turn:  # the first turn warms up
                row.times.append(time.process_time() - begin)
        if turn and time.process_time() - started > seconds:
            break
    return rows


def table(rows: list[Measured]) -> str:
    """Markdown, one line a variant and size, columns for every side."""
    sides = sorted({row.side for row in rows})
    found = {(row.size, row.name, row.side): row for row in rows}
    head = ["size", "variant", "parameters (M)"]
    for side in sides:
        head += [f"GFLOPs {side}", f"CPU ms {side}", f"ms / simple {side}"]
    lines = [head, ["---"] * 2 + ["--:"] * (len(head) - 2)]
    for size, name in dict.fromkeys((row.size, row.name) for row in rows):
        line = [size, f"`{name}`", f"{found[size, name, sides[0]].parameters / 1e6:.2f}"]
        for side in sides:
            line += _cells(found[size, name, side], found[size, list_models()[0], side])
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Measured, simple: Measured) -> list[str]:
    flops = f"{row.flops / 1e9:.2f}"
    if not row.times:
        return [flops, "-", "-"]
    return [flops, f"{row.milliseconds:.1f}", f"{row.milliseconds / simple.milliseconds:.2f}"]


def verdicts(rows: list[Measured]) -> list[tuple[str, bool]]:
    """What the design promises, and whether it holds in every size and side."""
    groups: dict[tuple[str, int], dict[str, Measured]] = {}
    for row in rows:
        groups.setdefault((row.size, row.side), {})[row.name] = row
    led, (simple, pose) = "sia_pose_decoder_led", FULL_ENCODERS
    every = list(groups.values())
    timed = [group for group in every if group[simple].times]
    counts = [
        ("LED has the fewest parameters", all(min(g, key=lambda n: g[n].parameters) == led for g in every)),
        ("LED has the fewest FLOPs", all(min(g, key=lambda n: g[n].flops) == led for g in every)),
        ("simple has fewer FLOPs than pose", all(g[simple].flops < g[pose].flops for g in every)),
    ]
    speeds = [
        ("simple is faster than pose", all(g[simple].milliseconds < g[pose].milliseconds for g in timed)),
        ("LED is the fastest", all(min(g, key=lambda n: g[n].milliseconds) == led for g in timed)),
    ]
    return counts + (speeds if timed else [])


def peak_memory() -> int:
    """Most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine(seed: int) -> str:
    """What the numbers belong to."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    today = datetime.datetime.now(datetime.timezone.utc)
    return (
        f"{processor}, {os.cpu_count()} threads, {torch.get_num_threads()} used; load {os.getloadavg()[0]:.1f}; torch "
        f"{torch.__version__}; float32, batch of 1; seed {seed}; {today:%Y-%m-%d}"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    known = [size for size in SIZES if size != "test"]
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=known, help="sizes (default: all)")
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 640], help="input sides in pixels")
    parser.add_argument("--runs", type=int, default=9, help="most runs of each model, 0 to count only (default: 9)")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds a size and side, about (default: 10)")
    parser.add_argument(
        "--most-gflops", type=float, default=500.0, help="models above are counted, not timed (default: 500)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and images (default: 0)")
    parser.add_argument("--output", type=Path, help="markdown file to write the table to")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and what it shows; the status is 1 where LED is not the lightest."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    check_counter()
    rows: list[Measured] = []
    for size in args.sizes:
        for side in args.sides:
            print(f"{size} at {side} px ...", file=sys.stderr)
            rows += measure(size, side, args.runs, args.seconds, args.most_gflops)
    results = verdicts(rows)
    lines = [machine(args.seed), "", table(rows), "", *(f"- {what}: {'yes' if ok else 'NO'}" for what, ok in results)]
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")
    return 0 if all(ok for what, ok in results if what.startswith("LED has")) else 1


if __name__ == "__main__":
    sys.exit(main())
