"""The flags that inference on images and on videos share. Nothing here loads torch, so `--help` comes at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from sia.commands.values import fraction, input_size
from sia.io.bundled_weights import DEFAULT
from sia.io.input_file import add_max_pixels

SCORE, KEYPOINT = 0.6, 0.3
"""From which score and confidence on people and keypoints are shown."""

SMOOTHING = ("none", "online", "offline")
"""What `sia.tracking.smoother` makes."""


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
        "--roi_score_thresh", type=fraction, metavar="0-1",
        help="people whose first score is lower get no RoI refinement, except for the best of each image: higher is "
        "faster and finds fewer; keep it below --conf_thresh (default: 0.1, or what an export was made with)",
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
        help="images or frames at a time; takes memory, and makes a GPU faster (default: 8; images on a CPU 1)",
    )  # fmt: skip
    add_max_pixels(parser)
    return finders


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
