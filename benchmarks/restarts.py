"""Kills random processes of a training at random moments, and sees whether torchrun's restarts go on where it was.

python benchmarks/restarts.py --kills 30 --output runs/restarts

Two processes train a miniature model on synthetic people under ``torchrun --standalone --max-restarts 3``, with up to
three SIGKILLs: while they start, before their folder is there, before its first save, in steps, saves and evaluations.
A kill is recovered from when the launch ends with status 0, in the one folder of its run, and everything that was
trained is bit for bit what an undisturbed run ends with. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, launch, machine
from sia.errors import TrainingError

KILLS = 3
"""Of one launch, as many as it has restarts."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--kills", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--epochs", type=int, default=20, help="of each training, 4 steps each (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and ranks (default: 0)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for what is left after a kill (default: 900)")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")


class Launch:
    """One torchrun."""

    def __init__(self, people: Path, output: Path, epochs: int) -> None:
        self.output, self.run = output, output / "run"
        output.mkdir(parents=True)
        flags = (
            f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -INIT scratch -DEVICE cpu -BS 2 -WORKERS 1 -EPOCH {epochs} "
            f"-SAVE_MINUTES 0 -EXP run -OUTPUT {output} -COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json "
            f"-VAL_ANN {people}/val.json"
        )
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        with (output / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [*torchrun, f"--max-restarts={KILLS}", str(ROOT / "train_pose.py"), *flags.split()],
                stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def ranks(self) -> dict[int, int]:
        """Process numbers by rank, of those that run now."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in map(int, _read(task).split()):
                words = _read(Path(f"/proc/{pid}/environ")).split("\0")
                found.update({int(word[5:]): pid for word in words if word.startswith("RANK=")})
        return found

    def wait_for_ranks(self, killed: set[int]) -> dict[int, int]:
        """Both processes, neither of them among the earlier ones; nothing if the launch ends before."""
        while self.process.poll() is None:
            ranks = self.ranks()
            if len(ranks) == 2 and not killed & set(ranks.values()):
                return ranks
            time.sleep(0.05)
        return {}

    def disturb(self, draw: random.Random, span: float, kills: int) -> list[float]:
        """Kills one process after the other, each at a random moment of a training; seconds until each new start."""
        done, ranks = list[float](), self.wait_for_ranks(set())
        for _ in range(kills):
            begun, moment = time.monotonic(), draw.uniform(0, span)
            while self.process.poll() is None and time.monotonic() - begun < moment:
                time.sleep(0.01)
            rank, at = draw.choice(sorted(ranks)), time.monotonic()
            if self.process.poll() is not None or rank not in self.ranks():
                break  # it was done before
            epochs = max(_read(self.run / "results.csv").count("\n") - 1, 0)
            state = f"{epochs} epochs done" if (self.run / "weights/last.pt").is_file() else "nothing saved"
            os.kill(ranks[rank], signal.SIGKILL)
            ranks = self.wait_for_ranks(set(ranks.values()))
            done.append(time.monotonic() - at)
            print(f"  rank {rank} after {moment:5.1f} s ({state}): started anew after {done[-1]:.1f} s", flush=True)
            if not ranks:
                break
        return done

    def end(self, seconds: float) -> int | None:
        """The exit status, None where it takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            return None

    def trained(self) -> dict[str, Any]:
        """Everything in last.pt that training decides."""
        from sia.io.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(self.run / "weights" / "last.pt")
        training = checkpoint["training"]
        training["cursor"].pop("seconds")
        return {"weights": checkpoint["weights"], **{key: training[key] for key in training if key != "config"}}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a.equal(b) if hasattr(a, "equal") else a == b)


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 if every kill was recovered from."""
    from datasets.synthetic import write_dataset

    people = args.output / "people"
    write_dataset(people, 16, 8, 64, 0)
    begin = time.monotonic()
    undisturbed = Launch(people, args.output / "undisturbed", args.epochs)
    if undisturbed.end(args.limit) != 0:
        raise TrainingError(f"The undisturbed training failed; see {args.output}/undisturbed/log.txt.")
    span = time.monotonic() - begin
    print(f"an undisturbed run takes {span:.0f} s", flush=True)
    wanted, draw = undisturbed.trained(), random.Random(args.seed)
    times, recovered, number = list[float](), 0, 0
    while len(times) < args.kills:
        number += 1
        launch = Launch(people, args.output / f"launch-{number}", args.epochs)
        done = launch.disturb(draw, span, min(KILLS, args.kills - len(times)))
        begin, status = time.monotonic(), launch.end(args.limit)
        folders = sorted(path.name for path in launch.output.iterdir() if path.is_dir())
        fine = status == 0 and folders == ["run"] and same(launch.trained(), wanted)
        times, recovered = times + done, recovered + len(done) * fine
        outcome = f"exit {status} {time.monotonic() - begin:.0f} s later, folders {folders}"
        print(f"{len(done)} kills: {outcome}, {'the same' if fine else 'NOT the same'}", flush=True)
    print(f"{recovered} of {len(times)} recovered, started anew after {min(times):.0f} to {max(times):.0f} s")
    print(machine(f"seed {args.seed}"))
    return 0 if recovered == len(times) else 1


if __name__ == "__main__":
    sys.exit(launch(__doc__, add_flags, run))
