"""Finds people and their keypoints in images: annotated images and a COCO results file.

python inference_image_pose.py --image_path images/ --weight_path runs/.../weights/best.pt --conf_thresh 0.6
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sia.commands.parser import Parser
from sia.commands.predict import add_image_flags, add_shared_flags, run_images
from sia.errors import exit_status


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--image_path",
        required=True,
        metavar="PATH",
        help="an image or its address, a folder of images, a glob in quotes such as 'shots/**/*.jpg', or - for stdin",
    )
    add_image_flags(parser)
    add_shared_flags(parser, "inference-image-1")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run_images(args))


if __name__ == "__main__":
    sys.exit(main())
