"""k-fold cross-validation of a training: python scripts/cross_validate.py --output runs/cv -- -MODEL sia_pose ...

Behind ``--`` stand the flags of train_pose.py, without -VAL_ANN: each fold of the images of -TRAIN_ANN is evaluated on
once, by a training on the others. Images that are nearly the same, and frames of one video, stay in one fold. After a
stop the same command goes on, where it was.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypedDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_pose
from sia.commands.parser import Parser
from sia.errors import ConfigError, exit_status
from sia.io.output_file import named_folder, write_json
from sia.io.stored import read_stored

LAUNCH = Path(__file__).resolve().with_name("launch.py")
OWN = ("val_ann", "output", "exp", "stage", "pipeline")
"""Fields of the training that this script sets, or that are no training."""


class Record(TypedDict):
    """What is done: figures of each fold that is trained, of how many folds, with which flags of the training."""

    folds: list[dict[str, float]]
    count: int
    flags: list[str]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(description="Trains on all folds but one in turn; tells mean and standard deviation of AP.")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="how many, 2 or more (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new, or to go on with")
    parser.add_argument("flags", nargs="+", help="behind --: those of train_pose.py, without -VAL_ANN")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Trains what is left to train; returns 0, or the exit status of the training that stopped.

    Raises:
        SiaError: flags or data that can't be used, or a folder that was begun with others.
    """
    if args.folds < 2:
        raise ConfigError(f"--folds {args.folds} must be at least 2.")
    from utils.config.config_file import with_config_files
    from utils.config.flags import parse_flags
    from utils.config.train_config import flag_of

    named = [flag_of(name) for name in OWN if name in parse_flags(with_config_files(args.flags))]
    if named:
        raise ConfigError(f"{', '.join(named)} can't be given here: each fold has its own.")
    given = train_pose.check_command([*args.flags, "-VAL_ANN", str(LAUNCH)])  # any file: the folds aren't written yet
    from utils.run_folder import saved_run  # loads torch: not before the flags are checked

    state = _open(args, given)
    for fold in range(len(state["folds"]) + 1, args.folds + 1):
        status = _train(args, fold, given.get("device"))
        if status:
            print(f"Fold {fold} stopped with status {status}. The same command goes on.", file=sys.stderr)
            return status
        done = saved_run(args.output, f"fold-{fold}")
        assert done is not None
        state["folds"].append(_figures(done.results))
        _write(args.output, state)
    _report(args.output, state)
    return 0


def _open(args: argparse.Namespace, given: dict[str, Any]) -> Record:
    """What was done in the folder, with the folds written."""
    from stages.pipeline.splits import make_folds

    file = args.output / "cross_validation.json"
    wanted: Record = {"folds": [], "count": args.folds, "flags": args.flags}
    if file.is_file():
        state = read_stored(file, Record, "record of a cross-validation", "Name another --output.")
        if (state["count"], state["flags"]) != (wanted["count"], wanted["flags"]):
            raise ConfigError(f"{args.output} was begun with other flags: {' '.join(state['flags'])}. Name another.")
        return state
    if args.output.is_dir() and any(args.output.iterdir()):
        raise ConfigError(f"--output {args.output} has files of something else. Name another folder.")
    make_folds(named_folder(args.output), given["coco_root"], given["train_ann"], args.folds, given.get("seed", 0))
    _write(args.output, wanted)
    return wanted


def _write(folder: Path, state: Mapping[str, Any]) -> None:
    write_json(folder / "cross_validation.json", state, indent=1)


def _train(args: argparse.Namespace, fold: int, device: str | None) -> int:
    """One training, on all GPUs; signals are its affair: it saves, and then ends."""
    from utils.run_folder import saved_run

    begun = saved_run(args.output, f"fold-{fold}")
    data = ["-TRAIN_ANN", f"{args.output / f'train-{fold}.json'}", "-VAL_ANN", f"{args.output / f'val-{fold}.json'}"]
    place = ["-OUTPUT", str(args.output), "-EXP", f"fold-{fold}"]
    flags = [*args.flags, *data, *place] if begun is None else ["--RESUME", str(begun.last)]
    if begun is not None and device is not None:
        flags += ["-DEVICE", device]
    print(f"\nFold {fold} of {args.folds}", flush=True)
    process = subprocess.Popen([sys.executable, str(LAUNCH), str(Path(train_pose.__file__)), *flags])
    before = signal.signal(signal.SIGINT, lambda *_: None)  # the terminal has sent it to the training, too
    term = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, term)


def _figures(results: Path) -> dict[str, float]:
    """AP after the last epoch, and the best of all; the latter was chosen on the fold itself."""
    from utils.logger import read_results

    found = [float(row["AP"]) for row in read_results(results) if row.get("AP")]
    return {"AP": found[-1], "best AP": max(found)}


def _report(folder: Path, state: Record) -> None:
    print(f"\n{'fold':<8}{'AP':>8}{'best AP':>10}")
    for number, row in enumerate(state["folds"], 1):
        print(f"{number:<8}{100 * row['AP']:>8.2f}{100 * row['best AP']:>10.2f}")
    columns = {name: [row[name] for row in state["folds"]] for name in ("AP", "best AP")}
    figures = {
        name: {column: choose(values) for column, values in columns.items()}
        for name, choose in (("mean", mean), ("sd", stdev))
    }
    for name, row in figures.items():
        print(f"{name:<8}{100 * row['AP']:>8.2f}{100 * row['best AP']:>10.2f}")
    _write(folder, {**state, **figures})
    print(f"\nAP is that after the last epoch; the best was chosen on the fold itself. {folder}/cross_validation.json")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    return exit_status(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
