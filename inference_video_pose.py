"""Finds people and their keypoints in a video: an annotated video with its sound, and results for each frame.

python inference_video_pose.py --video_path walk.mp4 --weight_path runs/.../weights/best.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sia.commands.parser import Parser
from sia.commands.predict import add_shared_flags, add_video_flags, run_video
from sia.errors import exit_status


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--video_path",
        required=True,
        metavar="PATH",
        help="a video file, the address of a video or a stream (rtsp://...), a camera (0), screen, a page of YouTube, "
        "or - for stdin",
    )
    add_video_flags(parser)
    add_shared_flags(parser, "inference-video-1")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run_video(args))


if __name__ == "__main__":
    sys.exit(main())
