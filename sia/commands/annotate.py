"""`sia annotate`: labels by a model, for people to correct in a labelling tool, or to train on as they are."""

from __future__ import annotations

import argparse
from pathlib import Path

from sia.commands.parser import add_batch_flags, add_input_size
from sia.commands.predict import check_images
from sia.commands.values import fraction
from sia.errors import ConfigError, DataError
from sia.io.bundled_weights import DEFAULT, readable_weights
from sia.io.input_file import check_input_file, set_pixel_limit
from sia.runtimes.device import wait_passively

FORMATS = {"cvat": "cvat", "labelstudio": "labelstudio", "coco": "coco-annotations", "labelme": "labelme"}
"""Names of this command, and those in `sia.formats.door`."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia annotate`."""
    parser.add_argument(
        "--images", required=True, metavar="PATH",
        help="a folder of images, a glob in quotes, or a text file with a path a line (suggested.txt of sia suggest)",
    )  # fmt: skip
    parser.add_argument(
        "--format", required=True, choices=list(FORMATS),
        help="of the labelling tool; coco to correct elsewhere, or to train on: each keypoint counts by its confidence",
    )  # fmt: skip
    parser.add_argument(
        "--weight_path", default=DEFAULT, metavar="FILE",
        help="model that finds the people: best.pt, an export, the name of bundled weights, or hf:owner/name "
        "(default: the small model that comes with the project)",
    )  # fmt: skip
    parser.add_argument(
        "--teacher", metavar="KIND:PATH",
        help="bigger model that poses them, such as vitpose:weights/vitpose-base; kinds and files as in "
        "train_pose.py -MEMBERS",
    )  # fmt: skip
    parser.add_argument(
        "--conf_thresh", type=fraction, default=0.4, metavar="0-1",
        help="people whose score is lower are left out; deleting costs less than drawing (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--kpt_thresh", type=fraction, default=0.3, metavar="0-1",
        help="keypoints whose confidence is lower are marked as hidden (default: %(default)s)",
    )  # fmt: skip
    add_input_size(parser)
    add_batch_flags(parser, "annotate-1")


def run(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status.

    Raises:
        SiaError: bad input.
    """
    set_pixel_limit(args.max_pixels)
    check_images(args.images)
    args.weight_path = readable_weights(args.weight_path)
    if args.teacher is not None and ":" not in args.teacher:
        raise ConfigError(f"--teacher {args.teacher} names no file. Write it as KIND:PATH.")
    wait_passively()
    from sia.labelling import annotation

    return annotation.run(args, _files(args.images), FORMATS[args.format])


def _files(images: str) -> list[Path]:
    """Of a folder or glob, or those that a text file lists.

    Raises:
        DataError: there are none.
    """
    if not images.lower().endswith(".txt"):
        from sia.io.image_folder import find_images

        return find_images(images, flag="--images")
    path = Path(images)
    check_input_file(path, "Check --images.")
    lines = [line.strip() for line in path.read_text("utf-8", "surrogateescape").splitlines()]
    files = list(dict.fromkeys(path.parent / line for line in lines if line))
    if not files:
        raise DataError(f"{path} lists no image. Write a path a line.")
    for file in files:
        check_input_file(file, f"Check {path}.")
    return files
