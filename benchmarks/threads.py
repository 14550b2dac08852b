"""How OpenMP's threads should wait: python benchmarks/threads.py --busy 0 1 2.

Training steps under several settings of OpenMP, each in a process of its own, taking turns step by step; alone on the
machine, and beside processes that only compute. Threads that spin while they wait take the processor from those that
have work, so a busy machine can slow a training far beyond what the others take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.values import image_size

SETTINGS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "active": {"OMP_WAIT_POLICY": "ACTIVE"},
    "dynamic, passive": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_DYNAMIC": "TRUE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
NAMES = ("OMP_WAIT_POLICY", "OMP_DYNAMIC", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")


class Stepper:
    """A process that makes a training step when it is told to."""

    def __init__(self, setting: str, args: argparse.Namespace) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in NAMES}
        side, batch = f"{args.imgsz[0]}x{args.imgsz[1]}", str(args.batch)
        flags = ["--steps_on_request", "--size", args.size, "--imgsz", side, "--batch", batch]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", env={**environment, **SETTINGS[setting]},
        )  # fmt: skip
        self.step()

    def step(self) -> float:
        """Seconds of one step."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


def step_on_request(args: argparse.Namespace) -> None:
    """The other side of a `Stepper`: a line in is a step, a line out its seconds."""
    from benchmarks.train_step import make_batch, make_training
    from utils.memory import keep_freed_memory

    keep_freed_memory()
    training = make_training("fp32", "sia_pose_simple", args.size, args.imgsz, 0)
    batch = make_batch(args.batch, args.imgsz, 4, 0)
    for _ in sys.stdin:
        start = time.perf_counter()
        training.step(batch)
        print(time.perf_counter() - start, flush=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute and nothing else."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """A row for each number of busy processes and each setting."""
    say("| busy | setting | img/s | of the first | slowest step, img/s |")
    say("|--:|-|--:|--:|--:|")
    with ExitStack() as stack:
        steppers = {setting: Stepper(setting, args) for setting in args.settings}
        for stepper in steppers.values():
            stack.callback(stepper.close)
        for count in args.busy:
            with busy(count):
                rounds = [{name: stepper.step() for name, stepper in steppers.items()} for _ in range(args.steps)]
            speeds = {name: args.batch / statistics.median(taken[name] for taken in rounds) for name in steppers}
            for name, speed in speeds.items():
                share, slowest = speed / speeds[args.settings[0]], args.batch / max(taken[name] for taken in rounds)
                say(f"| {count} | {name} | {speed:.1f} | {share:.2f} | {slowest:.1f} |")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS, help="of OpenMP (default: all)")
    add("--busy", type=int, nargs="+", default=[0, 1, 2], help="processes beside it (default: 0 1 2)")
    add("--steps", type=int, default=8, help="of each setting (default: %(default)s)")
    add("--size", default="n16", help="of the model (default: %(default)s)")
    add("--imgsz", type=image_size, default=(128, 128), help="input size in pixels, N or HxW (default: 128)")
    add("--batch", type=int, default=8, help="images a step (default: %(default)s)")
    add("--steps_on_request", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(argv)
    if args.steps_on_request:
        step_on_request(args)
        return 0
    measure(args, lambda line: print(line, flush=True))
    print(f"\nsia_pose_simple {args.size}, {args.imgsz[0]}x{args.imgsz[1]} px, batches of {args.batch}, "
          f"{len(os.sched_getaffinity(0))} cores")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
