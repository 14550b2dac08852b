"""`sia suggest`: which images to label next, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from sia.commands.parser import add_batch_flags
from sia.commands.predict import check_images
from sia.commands.values import positive
from sia.io.bundled_weights import DEFAULT, readable_weights
from sia.io.input_file import check_input_file, set_pixel_limit
from sia.runtimes.device import wait_passively


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia suggest`."""
    parser.add_argument("--images", required=True, metavar="DIR", help="a folder of images, or a glob in quotes")
    parser.add_argument(
        "--n", type=positive, default=100, metavar="N", help="how many to suggest (default: %(default)s)"
    )
    parser.add_argument(
        "--ann_file", type=Path, metavar="FILE",
        help="COCO annotations (json) of those among the images that have labels: they are not suggested, and neither "
        "are images like them",
    )  # fmt: skip
    parser.add_argument(
        "--weight_path", default=DEFAULT, metavar="FILE",
        help="best.pt of a training run, the name of bundled weights such as sia_pose-n16, or hf:owner/name; best the "
        "model that the labels shall improve (default: the small model that comes with the project)",
    )  # fmt: skip
    parser.add_argument("--copy", action="store_true", help="copy the images there, too, to upload them from one place")
    add_batch_flags(parser, "suggest-1")


def run(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status.

    Raises:
        SiaError: bad input.
    """
    set_pixel_limit(args.max_pixels)
    check_images(args.images)
    if args.ann_file is not None:
        check_input_file(args.ann_file, "Check --ann_file.")
    args.weight_path = readable_weights(args.weight_path)
    wait_passively()
    from sia.io.image_folder import find_images
    from sia.labelling import suggestion

    return suggestion.run(args, find_images(args.images, flag="--images"))
