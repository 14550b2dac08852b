"""Finds people and their keypoints in images: annotated images and a COCO results file.

python inference_image_pose.py --image_path images/ --weight_path runs/.../weights/best.pt --conf_thresh 0.6
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sia.commands.flags import add_common_flags
from sia.commands.parser import Parser
from sia.description.llm_flags import KEY, check_llm
from sia.errors import ConfigError, DataError, WeightsError, exit_status
from sia.io.input_file import check_input_file, check_input_folder
from sia.runtimes.threads import wait_passively
from sia.video.source import is_address


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = Parser(
        description=__doc__.splitlines()[0],
    )
    parser.add_argument(
        "--image_path",
        required=True,
        metavar="PATH",
        help="an image, a folder of images, or a glob in quotes such as 'shots/**/*.jpg'",
    )
    parser.add_argument(
        "--ann_file", type=Path, metavar="FILE",
        help="COCO annotations (json) of the images: results get its image ids, and scripts/evaluate.py takes them; "
        "images that it doesn't have are left out",
    )  # fmt: skip
    parser.add_argument(
        "--describe", action="store_true",
        help="write what can be measured of each person (facts.json), and sentences made of it (text/)",
    )  # fmt: skip
    parser.add_argument(
        "-LLM", dest="llm", metavar="NAME",
        help="with --describe: a language model that writes the sentences, a folder or hub name for transformers; with "
        "-LLM_URL, the model's name on that server",
    )  # fmt: skip
    parser.add_argument(
        "-LLM_URL", dest="llm_url", metavar="URL",
        help=f"an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; its key is read from ${KEY}",
    )  # fmt: skip
    parser.add_argument(
        "-LLM_PEOPLE", dest="llm_people", type=int, default=50, metavar="N",
        help="most people that the language model describes (default: %(default)s)",
    )  # fmt: skip
    finders = add_common_flags(parser, "inference-image")
    finders.add_argument(
        "--pipeline", type=Path, metavar="DIR",
        help="a finished pipeline (train_pose.py -STAGE all) instead of weights: its model, and what its "
        "later stages do; unless told otherwise, it shows what suits its labelled images",
    )  # fmt: skip
    parser.set_defaults(conf_thresh=None, kpt_thresh=None, batch_size=None)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: flags that don't go together.
        SiaError: a file or folder that can't be read.
    """
    check_llm(args.llm, args.llm_url)
    if args.llm is not None and not args.describe:
        raise ConfigError("-LLM is for --describe. Give both.")
    for flag in ("imgsz", "roi_score_thresh"):
        if args.pipeline is not None and vars(args)[flag] is not None:
            raise ConfigError(f"--{flag} is not for --pipeline: its stages were fitted to what is found without it.")
    if args.image_path.strip():
        check_images(args.image_path)
    if args.pipeline is not None:
        check_input_folder(args.pipeline, "Check --pipeline.")
    else:
        check_input_file(args.weight_path, "Check --weight_path.", WeightsError)


def check_images(pattern: str) -> None:
    """Whether an image or a folder can be read; what a glob finds is seen when it is read.

    Raises:
        DataError: it can't.
    """
    if is_address(pattern):  # as it was typed: a Path would take a slash away
        raise DataError(f"Can't read {pattern}: only files are read here. Download it first.")
    name = os.path.expanduser(pattern)  # noqa: PTH111 (Path.expanduser fails for a file called ~x.jpg)
    if os.path.isdir(name):  # noqa: PTH112 (never raises)
        check_input_folder(Path(name), "Check --image_path.")
    elif os.path.lexists(name) or not glob.has_magic(name):
        check_input_file(Path(name), "Check --image_path.")


def run(args: argparse.Namespace) -> int:
    """The whole job; imported after flags and paths are checked, so that a wrong one is answered at once."""
    check_args(args)
    wait_passively()
    from sia.commands import image_job

    return image_job.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
