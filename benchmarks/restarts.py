"""Kills random processes of a training at random moments, and sees whether torchrun's restarts go on where it was.

python benchmarks/restarts.py --kills 30 --output /tmp/restarts

Two processes train a miniature model on synthetic people under ``torchrun --standalone --max-restarts 3``, with up to three
SIGKILLs: while they start, before their folder is there, before its first save, in steps, saves and evaluations. A kill
has come back when the launch ends with status 0, in the one folder of its run, and everything that was trained is bit
for bit what an undisturbed run ends with. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import write_dataset
from sia.io.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]

KILLS = 3
"""Of one launch, as many as it has restarts."""


@dataclass
class Kill:
    """One SIGKILL: of which rank, when after its start, what stood then, and how long until all were started anew."""

    rank: int
    after: float
    state: str
    seconds: float


class Launch:
    """One torchrun."""

    def __init__(self, people: Path, output: Path, epochs: int) -> None:
        self.output = output
        output.mkdir(parents=True)
        flags = (
            f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -INIT scratch -DEVICE cpu -BS 2 -WORKERS 1 -EPOCH {epochs} "
            f"-SAVE_MINUTES 0 -EXP run -OUTPUT {output} -COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json "
            f"-VAL_ANN {people}/val.json"
        )
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        self._log = (output / "log.txt").open("wb")
        self.process = subprocess.Popen(
            [*torchrun, f"--max-restarts={KILLS}", str(ROOT / "train_pose.py"), *flags.split()],
            stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def ranks(self) -> dict[int, int]:
        """Process numbers by rank, of those that run now."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in map(int, _read(task).split()):
                words = _read(Path(f"/proc/{pid}/environ")).split("\0")
                ranks = [int(word[5:]) for word in words if word.startswith("RANK=")]
                found.update(dict.fromkeys(ranks, pid))
        return found

    def wait_for_ranks(self, killed: set[int]) -> dict[int, int]:
        """Both processes, neither of them among the earlier ones; nothing if the launch ends before."""
        while self.process.poll() is None:
            ranks = self.ranks()
            if len(ranks) == 2 and not killed & set(ranks.values()):
                return ranks
            time.sleep(0.05)
        return {}

    def state(self) -> str:
        """What stands in the folder."""
        if not (self.output / "run").is_dir():
            return "no folder"
        if not (self.output / "run/weights/last.pt").is_file():
            return "not saved"
        rows = _read(self.output / "run/results.csv").count("\n")
        return f"{max(rows - 1, 0)} epochs done"

    def end(self, seconds: float) -> int | None:
        """The exit status, None where it takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            return None
        finally:
            self._log.close()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def trained(folder: Path) -> dict[str, Any]:
    """Everything in last.pt that training decides."""
    checkpoint = load_checkpoint(folder / "weights" / "last.pt")
    training = checkpoint["training"]
    training["cursor"].pop("seconds")
    return {"weights": checkpoint["weights"], **{key: training[key] for key in training if key != "config"}}


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def disturb(launch: Launch, draw: random.Random, span: float, kills: int) -> list[Kill]:
    """Kills one process after the other, each at a random moment of the time that a start and its training take."""
    done, ranks = list[Kill](), launch.wait_for_ranks(set())
    for _ in range(kills):
        begun, moment = time.monotonic(), draw.uniform(0, span)
        while launch.process.poll() is None and time.monotonic() - begun < moment:
            time.sleep(0.01)
        rank, state, at = draw.choice(sorted(ranks)), launch.state(), time.monotonic()
        if launch.process.poll() is not None or rank not in launch.ranks():
            break  # it was done before
        os.kill(ranks[rank], signal.SIGKILL)
        ranks = launch.wait_for_ranks(set(ranks.values()))
        done.append(Kill(rank, moment, state, time.monotonic() - at))
        print(f"  rank {rank} after {moment:5.1f} s ({state}): started anew after {done[-1].seconds:.1f} s", flush=True)
        if not ranks:
            break
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 if everything came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--epochs", type=int, default=20, help="of each training, 4 steps each (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and ranks (default: 0)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for what is left after a kill (default: 900)")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    args = parser.parse_args(argv)
    people = args.output / "people"
    write_dataset(people, 16, 8, 64, 0)
    begin = time.monotonic()
    undisturbed = Launch(people, args.output / "undisturbed", args.epochs)
    assert undisturbed.end(args.limit) == 0, f"see {args.output}/undisturbed/log.txt"
    span = time.monotonic() - begin
    print(f"an undisturbed run takes {span:.0f} s", flush=True)
    wanted, draw = trained(args.output / "undisturbed" / "run"), random.Random(args.seed)
    kills, back, number = list[Kill](), 0, 0
    while len(kills) < args.kills:
        number += 1
        launch = Launch(people, args.output / f"launch-{number}", args.epochs)
        done = disturb(launch, draw, span, min(KILLS, args.kills - len(kills)))
        begin = time.monotonic()
        status = launch.end(args.limit)
        folders = sorted(path.name for path in launch.output.iterdir() if path.is_dir())
        fine = status == 0 and folders == ["run"] and same(trained(launch.output / "run"), wanted)
        kills += done
        back += len(done) * fine
        took = time.monotonic() - begin
        outcome = f"exit {status} {took:.0f} s later, folders {folders}, {'the same' if fine else 'NOT the same'}"
        print(f"{len(done)} kills: {outcome}", flush=True)
    times = sorted(kill.seconds for kill in kills)
    print(f"{back} of {len(kills)} came back, started anew after {times[0]:.0f} to {times[-1]:.0f} s")
    return 0 if back == len(kills) else 1


if __name__ == "__main__":
    sys.exit(main())
