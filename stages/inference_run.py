"""What inference on pictures and on videos have in common: flags, announcements, the output folder."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sia.model import LIKELY
from stages.predictor import Predictor
from stages.shipped import DEFAULT
from utils.config import fraction, input_size
from utils.output import named_folder, numbered_folder
from utils.results import describe_rows

SCORE, KEYPOINT = 0.5, 0.3
"""From which score and confidence on people and keypoints are shown."""


def add_common_flags(parser: argparse.ArgumentParser, name: str) -> argparse._MutuallyExclusiveGroup:
    """Adds the flags that both entry points share.

    Args:
        parser: of the entry point.
        name: of the default output folder, without its number.

    Returns:
        What finds people: one of these flags alone.
    """
    finders = parser.add_mutually_exclusive_group()
    finders.add_argument(
        "--weight_path", type=Path, default=DEFAULT, metavar="FILE",
        help="best.pt or last.pt of a training run, or an export of them (.onnx, .xml); default: the small model that "
        "comes with the project",
    )  # fmt: skip
    parser.add_argument(
        "--conf_thresh", type=fraction, default=SCORE, metavar="0-1",
        help=f"people whose score is lower are neither drawn nor written (default: {SCORE})",
    )  # fmt: skip
    parser.add_argument(
        "--kpt_thresh", type=fraction, default=KEYPOINT, metavar="0-1",
        help=f"keypoints whose confidence is lower are not drawn; results have them all (default: {KEYPOINT})",
    )  # fmt: skip
    parser.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW",
        help="input size in pixels; best near that of the weights (default)",
    )  # fmt: skip
    parser.add_argument(
        "--look_thresh", type=fraction, metavar="0-1",
        help="people whose first score is lower get no second look: higher is faster and finds fewer (default: "
        f"{LIKELY}, or what an export was made with)",
    )  # fmt: skip
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR",
        help="where to write; a number is added to the name of a folder that has files in it "
        f"(default: runs/{name}-1, -2, ...)",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="auto", metavar="NAME",
        help="auto, cpu, cuda (or cuda:1 for a second GPU) or mps for Apple's GPU (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--batch_size", type=_positive, default=8, metavar="N",
        help="pictures or frames at a time; takes memory, and makes a GPU faster (default: %(default)s)",
    )  # fmt: skip
    return finders


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def announce(predictor: Predictor) -> None:
    """Says what runs where, and shouts when a GPU is left idle."""
    print(predictor.describe(), flush=True)
    if predictor.device.warning:
        print(f"WARNING: {predictor.device.warning}", file=sys.stderr, flush=True)


def describe_run(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """The start of run.json: how to read the results, and what made them."""
    flags = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
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
