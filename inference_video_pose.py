"""Finds people and their keypoints in a video: an annotated video with its sound, and results for each frame.

python inference_video_pose.py --video_path walk.mp4 --weight_path runs/.../weights/best.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sia.commands.flags import SMOOTHING, add_common_flags
from sia.commands.parser import Parser
from sia.errors import ConfigError, WeightsError, exit_status
from sia.io.input_file import check_input_file
from sia.runtimes.threads import wait_passively
from sia.video.source import READERS, is_address


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = Parser(
        description=__doc__.splitlines()[0],
    )
    parser.add_argument(
        "--video_path", required=True, metavar="PATH", help="a video file, or the address of a stream (rtsp://...)"
    )
    parser.add_argument(
        "--reader",
        choices=READERS,
        default="av",
        help="decoder; decord is an extra package (default: %(default)s)",
    )
    parser.add_argument(
        "--track", action="store_true",
        help="give people ids that stay, and draw the way they came; doubtful people continue a track",
    )  # fmt: skip
    parser.add_argument(
        "--smooth",
        choices=SMOOTHING,
        default="none",
        help="smooth the keypoints of each id, which implies --track: online as they come, offline with a view of the "
        "frames ahead, which also bridges short gaps (default: %(default)s)",
    )
    add_common_flags(parser, "inference-video")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """The whole job; imported after the flags are read, so that a wrong one is answered without loading torch."""
    if args.reader == "decord" and is_address(args.video_path):
        raise ConfigError("--reader decord reads files only. Use --reader av for a stream.")
    if not is_address(args.video_path):
        check_input_file(Path(args.video_path), "Check --video_path.")
    check_input_file(args.weight_path, "Check --weight_path.", WeightsError)
    wait_passively()
    from sia.commands import video_job

    return video_job.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
