"""torchrun on whatever this machine has: ``python scripts/launch.py train_pose.py -MODEL ...``.

One process for each GPU; one process on a CPU, or on the one GPU that -DEVICE names. A run that goes on keeps its
device. A training that fails or is interrupted has already said why, so torchrun's own traceback is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_pose
from sia.commands.parser import Parser
from sia.errors import exit_status
from sia.runtimes.device import usable_cores, wait_passively

if TYPE_CHECKING:  # torch is loaded after the training's flags and paths are checked: see `main`
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


ROOT = Path(__file__).resolve().parents[1]


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """The flags of this script, and the command with its own."""
    parser = Parser(
        description="Runs a training with torchrun: one process for each GPU, or one on a CPU.",
    )
    parser.add_argument("--check", action="store_true", help="only say what is wrong with the flags of train_pose.py")
    parser.add_argument("script", help="the script to run, such as train_pose.py")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    """Checks the flags of train_pose.py, which needs no torch, and starts it.

    Returns:
        The exit status.
    """
    args = parse_args(argv)

    def job() -> int:
        of_training = Path(args.script).resolve() == ROOT / "train_pose.py"
        given = train_pose.check_command(args.flags) if of_training else {}
        return 0 if args.check else main([args.script, *args.flags], given.get("device") or earlier_device(given))

    return exit_status(job)


def earlier_device(given: Mapping[str, Any]) -> str:
    """-DEVICE of the run or the pipeline that goes on; ``auto`` for a new one, and where its folder doesn't tell."""
    found: Any = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # what is broken, the training says
        if given.get("resume") is not None and Path(given["resume"]).name == "last.pt":
            found = json.loads((Path(given["resume"]).absolute().parents[1] / "config.json").read_bytes())["device"]
        elif given.get("pipeline") is not None:
            found = json.loads((Path(given["pipeline"]) / "state.json").read_bytes())["config"]["device"]
    return found if isinstance(found, str) else "auto"


def main(command: Sequence[str], device: str = "auto") -> int:
    """Runs a script and its flags in all processes, as many as its -DEVICE asks for.

    Returns:
        The exit status of the process that failed first, as a shell would give it; 0 where none did.
    """
    wait_passively()
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # torchrun's own report of a failure; only in this process, not in the training
    # On a CPU two processes of one thread are no faster than one of two: 50 and 50 images/s (n16, 192 px, batch 16).
    processes = max(1, torch.cuda.device_count()) if device in ("auto", "cuda") else 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    try:
        torchrun(["--standalone", "--nproc-per-node", str(processes), *command])
    except ChildFailedError as error:
        return _explain(error.get_first_failure()[1])
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _explain(failure: ProcessFailure) -> int:
    """A killed process could say nothing itself."""
    if failure.exitcode >= 0:
        return failure.exitcode
    number = -failure.exitcode
    hint = " The machine may be out of memory: try a smaller -BS or fewer -WORKERS." if number == signal.SIGKILL else ""
    print(f"error: process {failure.local_rank} was killed by {_name(number)}.{hint}", file=sys.stderr)
    return 128 + number


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
