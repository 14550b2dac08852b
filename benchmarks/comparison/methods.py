"""The methods that are compared, and which Python runs them.

Ultralytics is under the AGPL, so it never comes into the product's environment: it lives in one of its own,
benchmarks/.comparison-venv, made by ``uv`` from requirements.txt, and is run as a program of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sia.errors import ConfigError

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / ".comparison-venv"
REQUIREMENTS = HERE / "requirements.txt"
MODULES = {
    "yolo11n": "yolo",
    "yolo26n": "yolo",
    "sia_pose_simple": "sia_pose",
    "sia_pose": "sia_pose",
    "sia_pose_decoder_led": "sia_pose",
}


@dataclass(frozen=True)
class Method:
    """A model with settings of its own.

    Attributes:
        label: as it was written: ``yolo11n:nbs=16,batch=8``; the name in tables and plots.
        model: the name before the colon.
        options: KEY=VALUE settings, passed through.
    """

    label: str
    model: str
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """A name for files."""
        return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in self.label)

    def run(self, verb: str, flags: dict[str, object], log: Path, threads: int = 1) -> None:
        """Runs worker.py with the method's Python, on so many hardware threads, its output in a log file.

        Raises:
            ConfigError: its environment can't be had, or it failed; the message has the end of the log.
        """
        python = yolo_python() if MODULES[self.model] == "yolo" else Path(sys.executable)
        command = [*pinned(threads), str(python), str(HERE / "worker.py"), verb, "--model", self.model]
        command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        command += ["--options", *self.options] if self.options else []
        libraries = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        environment = {**os.environ, **libraries, "YOLO_CONFIG_DIR": str(log.parent.resolve())}
        with log.open("a") as stream:
            status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment).returncode
        if status:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ConfigError(f"{' '.join(command)} ended with status {status}; see {log}:\n{tail}")


def parse_method(text: str) -> Method:
    """``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.

    Raises:
        ArgumentTypeError: an unknown name, or a setting without a value.
    """
    model, _, rest = text.partition(":")
    options = tuple(filter(None, rest.split(",")))
    if model not in MODULES:
        raise argparse.ArgumentTypeError(f"'{model}' is none of {', '.join(MODULES)}")
    if not all("=" in option for option in options):
        raise argparse.ArgumentTypeError(f"'{rest}' must be KEY=VALUE,KEY=VALUE")
    return Method(text, model, options)


def pinned(threads: int) -> list[str]:
    """What holds a command on the first hardware threads, where the system can do that (Linux)."""
    if shutil.which("taskset") is None:
        return []
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))]


def yolo_python() -> Path:
    """Python of the environment with Ultralytics, made or renewed where it isn't as required.

    Raises:
        ConfigError: ``uv`` is missing, or the packages can't be installed.
    """
    python, stamp = VENV / "bin" / "python", VENV / "requirements.txt"
    if stamp.is_file() and stamp.read_text() == REQUIREMENTS.read_text():
        return python
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise ConfigError("YOLO needs an environment of its own, and so uv. Install it: pip install uv")
    try:
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], check=True)
        packages = [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS)]
        subprocess.run(packages, check=True)
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"The packages of {REQUIREMENTS} can't be installed: {error}") from error
    shutil.copy(REQUIREMENTS, stamp)
    return python
