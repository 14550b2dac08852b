"""What inference on images and on videos have in common: announcements and the output folder."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sia.io.output_file import named_folder, numbered_folder
from sia.io.results import describe_rows
from sia.io.secrets import mask
from sia.runtimes.predictor import Predictor


def announce(predictor: Predictor) -> None:
    """Says what runs where, and shouts when a GPU is left idle."""
    print(predictor.describe(), flush=True)
    if predictor.device.warning:
        print(f"WARNING: {predictor.device.warning}", file=sys.stderr, flush=True)


def describe_run(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """The start of run.json: how to read the results, and what made them; secrets in addresses are masked."""
    flags = {name: mask(str(value)) if isinstance(value, (Path, str)) else value for name, value in vars(args).items()}
    return {**describe_rows(predictor.skeleton), "model": predictor.describe(), "flags": flags}


def output_folder(wanted: Path | None, name: str) -> Path:
    """Makes a folder that is new, or empty.

    Raises:
        OutputError: no folder can be made there.
    """
    return named_folder(wanted) if wanted else numbered_folder(Path("runs"), name)


@contextlib.contextmanager
def remove_if_empty(folder: Path) -> Iterator[None]:
    """Takes the folder away again if the block ends in an error before anything was written to it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
