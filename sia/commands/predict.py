"""`sia predict` and the two inference scripts: their flags, what can be checked before any work, and which job it is.

Nothing here loads torch, so `--help` and a wrong path are answered at once.
"""

from __future__ import annotations

import argparse
import glob
import os
from pathlib import Path

from sia.commands.parser import add_batch_flags, add_pytorch_flags, add_size_flags
from sia.commands.values import fraction, seconds
from sia.description.doubt import AGREE, BELOW
from sia.description.llm_flags import KEY, check_llm
from sia.errors import ConfigError, DataError
from sia.formats.door import FORMATS, clear_stdout, parse_targets
from sia.io.bundled_weights import DEFAULT, readable_weights
from sia.io.input_file import check_input_file, check_input_folder
from sia.io.optional import need, need_extra
from sia.io.remote import is_one_image
from sia.runtimes.device import wait_passively
from sia.video.source import READERS, is_address, is_video, kind_of

SCORE, KEYPOINT = 0.6, 0.3
"""From which score and confidence on people and keypoints are shown."""

SMOOTHING = ("none", "online", "offline")
"""What `sia.tracking.smoother` makes."""

OF_IMAGES = ("--ann_file", "--pipeline", "--describe", "-LLM", "-LLM_URL", "--watch")
OF_VIDEOS = ("--track", "--track_memory", "--smooth", "--angles", "--count")
"""Flags that have no meaning for the other kind of source."""

BATCH = 8
"""Frames at a time, and images on a GPU."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia predict`: what it reads, and all that the two scripts have."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an image, a folder of images, a glob in quotes such as 'shots/**/*.jpg', a video file, the address of an "
        "image, a video or a stream (rtsp://...), a camera (0), screen, a page of YouTube, or - for stdin",
    )
    add_shared_flags(parser, "inference-image-1 or runs/inference-video-1")
    add_image_flags(parser.add_argument_group("images"))
    add_video_flags(parser.add_argument_group("videos"))


def add_shared_flags(parser: argparse.ArgumentParser, name: str) -> None:
    """The flags that images and videos share.

    Args:
        parser: of the command.
        name: of the first default output folder.
    """
    parser.add_argument(
        "--weight_path", default=DEFAULT, metavar="FILE",
        help="best.pt or last.pt of a training run, an export of them (.onnx, .xml), the name of bundled weights such "
        "as sia_pose-n16, or hf:owner/name on the Hugging Face hub; default: the small model that comes with the "
        "project",
    )  # fmt: skip
    parser.add_argument(
        "--conf_thresh", type=fraction, metavar="0-1",
        help=f"people whose score is lower are neither drawn nor written (default: {SCORE})",
    )  # fmt: skip
    parser.add_argument(
        "--kpt_thresh", type=fraction, metavar="0-1",
        help=f"keypoints whose confidence is lower are not drawn; results have them all (default: {KEYPOINT})",
    )  # fmt: skip
    add_size_flags(parser)
    add_pytorch_flags(parser)
    parser.add_argument(
        "--blur", choices=("faces",),
        help="make the heads of all people unrecognisable, also of people down to a third of --conf_thresh",
    )  # fmt: skip
    add_batch_flags(
        parser, name, None,
        f"images or frames at a time; takes memory, and makes a GPU faster (default: {BATCH}; images on a CPU 1)",
    )  # fmt: skip
    parser.add_argument(
        "--save", metavar="FORMAT[:PATH],...",
        help=f"how to write the people: {', '.join(FORMATS)}; into the output folder, or where PATH says; jsonl:- and "
        "csv:- go to standard output, and all messages to stderr (default: coco for images, jsonl for videos)",
    )  # fmt: skip
    parser.add_argument(
        "--show", action="store_true",
        help="open a window with what is drawn, too; q or Esc in it ends the run",
    )  # fmt: skip


def add_image_flags(parser: argparse._ActionsContainer) -> None:
    """Those for images alone."""
    parser.add_argument(
        "--watch", action="store_true",
        help="the source is a folder: do the images in it, then those that come into it, until Ctrl-C",
    )  # fmt: skip
    parser.add_argument(
        "--ann_file", type=Path, metavar="FILE",
        help="COCO annotations (json) of the images: results get its image ids, and scripts/evaluate.py takes them; "
        "images that it doesn't have are left out",
    )  # fmt: skip
    parser.add_argument(
        "--pipeline", type=Path, metavar="DIR",
        help="a finished pipeline (train_pose.py -STAGE all) instead of --weight_path: its model, and what its later "
        "stages do; unless told otherwise, it shows what suits its labelled images",
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
        "-LLM_BELOW", dest="llm_below", type=fraction, default=BELOW, metavar="0-1",
        help="people whose score is lower are in doubt; only people in doubt are described by the language model "
        "(default: %(default)s; 1 for all)",
    )  # fmt: skip
    parser.add_argument(
        "-LLM_AGREE", dest="llm_agree", type=fraction, default=AGREE, metavar="0-1",
        help="so are people whose keypoints agree less (OKS) with those in the mirror image, or with those before the "
        "later stages of --pipeline (default: %(default)s; 0 spares the second look)",
    )  # fmt: skip
    parser.add_argument(
        "-LLM_PEOPLE", dest="llm_people", type=int, default=50, metavar="N",
        help="most people that the language model describes (default: %(default)s)",
    )  # fmt: skip


def add_video_flags(parser: argparse._ActionsContainer) -> None:
    """Those for videos alone."""
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
        "--track_memory", type=seconds, default=0.0, metavar="SECONDS",
        help="known again by the clothes, people who were away for so long keep their ids; implies --track (default: "
        "%(default)s, no longer than a second)",
    )  # fmt: skip
    parser.add_argument(
        "--angles", metavar="NAMES",
        help="write the angles at joints over time for each id (NAME_angles.csv): all, or names such as "
        "left_knee,elbow, or of three keypoints, such as left_hip-left_knee-left_ankle; implies --track",
    )  # fmt: skip
    parser.add_argument(
        "--count", metavar="NAME",
        help="count repetitions for each id: squat, push_up, or those of an angle, such as left_elbow; implies --track",
    )  # fmt: skip
    parser.add_argument(
        "--smooth",
        choices=SMOOTHING,
        default="none",
        help="smooth the keypoints of each id, which implies --track: online as they come, offline with a view of the "
        "frames ahead, which also bridges short gaps (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """The whole job of `sia predict`; returns the exit status.

    Raises:
        ConfigError: a flag that is not for this kind of source.
        SiaError: bad input.
    """
    video = is_video(args.source)
    for flag in OF_IMAGES if video else OF_VIDEOS:
        if vars(args)[flag.lstrip("-").lower()] not in (None, False, 0, "none"):
            raise ConfigError(f"{flag} is for {'images' if video else 'videos'}. Leave it out for this source.")
    if video:
        args.video_path = args.source
        return run_video(args)
    args.image_path = args.source
    return run_images(args)


def run_images(args: argparse.Namespace) -> int:
    """Images, whatever can be known before being checked first; returns the exit status."""
    targets = parse_targets(args.save or "coco")
    check_image_args(args)
    wait_passively()
    from sia.commands.jobs import image_job

    with clear_stdout(targets):
        return image_job.run(args, targets)


def run_video(args: argparse.Namespace) -> int:
    """The same of a video."""
    kind = kind_of(args.video_path)
    if args.video_path != "-" and kind in ("images", "video"):
        check_input_file(Path(args.video_path), "Check the path.")
    check_show(args)
    args.weight_path = readable_weights(args.weight_path)
    need_extra("video", "Reading videos")
    targets = parse_targets(args.save or "jsonl")
    fill_thresholds(args)
    args.batch_size = args.batch_size or BATCH
    wait_passively()
    from sia.commands.jobs import video_job

    with clear_stdout(targets):
        return video_job.run(args, targets)


def fill_thresholds(args: argparse.Namespace, score: float = SCORE, keypoint: float = KEYPOINT) -> None:
    """Those that were not given."""
    args.conf_thresh = score if args.conf_thresh is None else args.conf_thresh
    args.kpt_thresh = keypoint if args.kpt_thresh is None else args.kpt_thresh


def check_image_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: flags that don't go together.
        SiaError: a file or folder that can't be read.
    """
    check_llm(args.llm, args.llm_url)
    if args.llm is not None and not args.describe:
        raise ConfigError("-LLM is for --describe. Give both.")
    if args.llm is not None and args.llm_url is None:
        need_extra("llm", "-LLM")
    if args.pipeline is not None:
        if args.weight_path != DEFAULT:
            raise ConfigError("--pipeline has its own weights: leave --weight_path out.")
        for flag in ("imgsz", "roi_size", "roi_score_thresh", "tta", "precision"):
            if vars(args)[flag] is not None and vars(args)[flag] is not False:
                raise ConfigError(
                    f"--{flag} is not for --pipeline: its stages were fitted to what is found without it."
                )
    if args.watch:
        if args.ann_file is not None:
            raise ConfigError("--ann_file can't know the images that --watch waits for. Leave one of them out.")
        check_input_folder(Path(args.image_path), "--watch takes a folder.")
        need("watchfiles", "--watch")
    elif args.image_path.strip() and not is_one_image(args.image_path):
        check_images(args.image_path)
    check_show(args)
    if args.pipeline is not None:
        check_input_folder(args.pipeline, "Check --pipeline.")
    else:
        args.weight_path = readable_weights(args.weight_path)


def check_show(args: argparse.Namespace) -> None:
    """Whether ``--show`` can be.

    Raises:
        ConfigError: it was given, and there can be no window.
    """
    if args.show:
        from sia.drawing.window import check_window

        check_window()


def check_images(pattern: str) -> None:
    """Whether an image or a folder can be read; what a glob finds is seen when it is read.

    Raises:
        DataError: it can't.
    """
    if is_address(pattern):  # as it was typed: a Path would take a slash away
        raise DataError(f"Can't read {pattern}: only files are read here. Download it first.")
    name = os.path.expanduser(pattern)  # noqa: PTH111 (Path.expanduser fails for a file called ~x.jpg)
    if os.path.isdir(name):  # noqa: PTH112 (never raises)
        check_input_folder(Path(name), "Check the path.")
    elif os.path.lexists(name) or not glob.has_magic(name):
        check_input_file(Path(name), "Check the path.")
