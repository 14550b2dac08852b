"""Who takes part, and which Python runs them."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.environment import peers_python
from sia.errors import ConfigError

HERE = Path(__file__).resolve().parent
RUNNERS = {
    "yolo11n": "yolo.py",
    "yolo26n": "yolo.py",
    "keypoint_rcnn": "keypoint_rcnn.py",
    "sia_pose_simple": "ours.py",
    "sia_pose": "ours.py",
    "sia_pose_decoder_led": "ours.py",
}
PEERS = ("yolo.py",)
"""Runners that need the peers' own environment."""


@dataclass(frozen=True)
class Entry:
    """A contestant with its settings.

    Attributes:
        label: as it was written: ``yolo11n:nbs=16,batch=8``; the name in tables and plots.
        model: the name before the colon.
        options: KEY=VALUE settings, passed through to the contestant.
    """

    label: str
    model: str
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """A name for files."""
        return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in self.label)

    def command(self, verb: str, *arguments: object) -> list[str]:
        """What to run.

        Raises:
            ConfigError: the peers' environment can't be had.
        """
        runner = RUNNERS[self.model]
        try:
            python = peers_python() if runner in PEERS else Path(sys.executable)
        except subprocess.CalledProcessError as error:
            raise ConfigError(f"The peers' environment can't be made: {error}") from error
        if python is None:
            raise ConfigError(f"{self.model} needs the peers' environment, and so uv. Install it: pip install uv")
        return [str(python), str(HERE / runner), verb, "--model", self.model, *map(str, arguments)]


def model_of(folder: str) -> str:
    """The contestant's name in that of its folder; empty for a folder of another kind."""
    return max((model for model in RUNNERS if folder.startswith(model)), key=len, default="")


def parse_entry(text: str) -> Entry:
    """``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.

    Raises:
        ArgumentTypeError: an unknown name, or a setting without a value.
    """
    model, _, rest = text.partition(":")
    options = tuple(filter(None, rest.split(",")))
    if model not in RUNNERS:
        raise argparse.ArgumentTypeError(f"'{model}' is none of {', '.join(RUNNERS)}")
    if not all("=" in option for option in options):
        raise argparse.ArgumentTypeError(f"'{rest}' must be KEY=VALUE,KEY=VALUE")
    return Entry(text, model, options)


def pinned(command: Sequence[str], processor: int | None) -> list[str]:
    """The command held on one hardware thread, where the system can do that (Linux)."""
    if processor is None or shutil.which("taskset") is None:
        return list(command)
    return ["taskset", "--cpu-list", str(processor), *command]


def checked(command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    """Runs a command with its output in a log file.

    Raises:
        ConfigError: it failed; the message has the end of the log.
    """
    with log.open("a") as stream:
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise ConfigError(f"{' '.join(command)} ended with status {status}; see {log}:\n{tail}")
