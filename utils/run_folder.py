"""The folder of one training: runs/<name>/ with its configuration, environment, curves, images and weights."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

import msgspec
import torch

from sia.errors import ConfigError
from sia.io.output_file import first_free_folder, output_error, write_json
from sia.io.secrets import mask
from utils.distributed.launch import Launch

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-contrib-python", "opencv-python-headless",
             "faster-coco-eval", "pycocotools", "transformers")  # fmt: skip

LOCK = ".lock"
"""The name of the file that is locked."""


class RunFolder:
    """Paths in the folder of a run.

    Attributes:
        last: the training checkpoint.
        best: the weights of the epoch with the highest AP.
        results: one row an epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.weights = path, path / "weights"
        self.last, self.best = self.weights / "last.pt", self.weights / "best.pt"
        self.results = path / "results.csv"

    def epoch_weights(self, epoch: int) -> Path:
        """Where --SAVE keeps the weights of an epoch, counted from 1."""
        return self.weights / f"epoch-{epoch:03d}.pt"

    def written(self) -> list[Path]:
        """Absolute paths of all files in it."""
        return sorted(path.absolute() for path in self.path.rglob("*") if path.is_file() and path.name[0] != ".")


def create_run_folder(output: Path, name: str, launch: Launch | None = None) -> RunFolder:
    """Makes ``output/name``, or ``name-2``, ``name-3`` ... where a run of that name exists.

    That of a launch is signed before it has its name, so there is never one that its launch doesn't know.

    Raises:
        OutputError: no folder can be made there.
    """
    made = first_free_folder(output / f".{name}.{number}" for number in count(1))
    first_free_folder([made / "weights"])
    if launch is not None:
        launch.sign(made)
    for path in chain([output / name], (output / f"{name}-{number}" for number in count(2))):
        if path.exists():
            continue
        try:
            return RunFolder(made.rename(path))
        except OSError as error:
            if not path.exists():  # else somebody else has just taken the name
                raise output_error(error, path) from error
    raise AssertionError("the names never end")


def saved_run(output: Path, name: str) -> RunFolder | None:
    """The run of this name that has saved something; of those that were killed before, empty folders stay."""
    saved = [*output.glob(f"{name}/weights/last.pt"), *output.glob(f"{name}-*/weights/last.pt")]
    return RunFolder(saved[0].parent.parent) if saved else None


def run_folder_of(checkpoint: Path) -> RunFolder | None:
    """The folder of the run that a checkpoint lies in, or None where it was copied out of it."""
    folder = checkpoint.absolute().parent.parent
    inside = checkpoint.absolute().parent.name == "weights" and (folder / "config.json").is_file()
    return RunFolder(folder) if inside and os.access(folder, os.W_OK) else None


def lock_folder(folder: Path) -> IO[bytes]:
    """Holds the folder until the returned file is closed or the process ends, however that ends.

    Raises:
        ConfigError: another process holds it.
        OutputError: nothing can be written there.
    """
    import fcntl  # not on Windows, which can't train on several processes either

    try:
        stream = (folder / LOCK).open("wb")
    except OSError as error:
        raise output_error(error, folder) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise ConfigError(f"Another process works in {folder}. Wait for it, or choose another folder.") from None
    return stream


def write_description(
    folder: RunFolder, config: Mapping[str, Any], argv: Sequence[str], extra: Mapping[str, Any]
) -> None:
    """config.json, and environment.json, which gains an entry each time the run is started or resumed."""
    write_json(folder.path / "config.json", config, indent=2)
    path = folder.path / "environment.json"
    try:
        starts = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    except (OSError, ValueError, RecursionError):  # the first start, or broken by hand
        starts = []
    write_json(path, [*starts, {**environment(argv), **extra}], indent=2)


def environment(argv: Sequence[str]) -> dict[str, Any]:
    """Versions, machine, command (without secrets) and commit."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": [sys.executable, *map(mask, argv)],
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The git commit of the code, marked where files differ from it; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1]), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
