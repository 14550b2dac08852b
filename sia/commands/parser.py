"""What all commands have in common: their parser, and an output that any locale can take."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from sia.commands.values import fraction, input_size, positive
from sia.errors import show_every_name
from sia.io.first_edition import rename_flags
from sia.io.input_file import MAX_PIXELS
from sia.io.secrets import mask
from sia.runtimes.device import PRECISIONS


class Parser(argparse.ArgumentParser):
    """No abbreviated flags, and no secret in what it complains about."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        show_every_name()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Takes the flags of the first edition too."""
        return super().parse_known_args(rename_flags(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Ends with the usage and the message."""
        super().error(mask(message))


def add_batch_flags(
    parser: argparse.ArgumentParser, name: str, batch: int | None = 4, what: str = "images at a time (default: 4)"
) -> None:
    """Those of a command that goes through many images: where to write, device, images at a time, size limit.

    Args:
        parser: of the command.
        name: of its first default output folder.
        batch: default of --batch_size.
        what: help of --batch_size.
    """
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR",
        help="where to write; a number is added to the name of a folder that has files in it "
        f"(default: runs/{name}, then -2, ...)",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="auto", metavar="NAME",
        help="auto, cpu, cuda (or cuda:1 for a second GPU) or mps for Apple's GPU (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--batch_size", type=positive, default=batch, metavar="N", help=what)
    add_max_pixels(parser)


def add_max_pixels(parser: argparse._ActionsContainer) -> None:
    """The flag; hand what it gives to `sia.io.input_file.set_pixel_limit`."""
    parser.add_argument(
        "--max_pixels", type=positive, default=MAX_PIXELS, metavar="N",
        help="images and frames of more pixels are refused before they are decoded; 1 million take about 15 MB of "
        "memory (default: %(default)s)",
    )  # fmt: skip


def add_input_size(parser: argparse._ActionsContainer) -> None:
    """The flag of every command that runs a model, or writes one."""
    parser.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW",
        help="input size in pixels; best near that of the weights (default)",
    )  # fmt: skip


def add_size_flags(parser: argparse._ActionsContainer) -> None:
    """`add_input_size`, whose crop the RoI keypoint head reads, and of what size."""
    add_input_size(parser)
    parser.add_argument(
        "--roi_size", type=input_size, metavar="N|HxW",
        help="size in pixels of the crop of each person, multiples of 16: smaller is faster and places keypoints worse "
        "(default: that of the weights)",
    )  # fmt: skip
    parser.add_argument(
        "--roi_score_thresh", type=fraction, metavar="0-1",
        help="people whose first score is lower get no RoI refinement, except for the best of each image: higher is "
        "faster and finds fewer; 0.15 is 0.28 on the scale of --conf_thresh (default: 0.15, or what an export "
        "was made with)",
    )  # fmt: skip


def add_pytorch_flags(parser: argparse._ActionsContainer) -> None:
    """What PyTorch alone can do, for the commands that look for people."""
    parser.add_argument(
        "--tta", action="store_true",
        help="flip test: keypoints from the mean heatmaps of each person's crop and of its mirror image, which is "
        "slower and places them better; not for exports",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=PRECISIONS,
        help="of products of matrices and convolutions: bf16 and fp16 take about half the time on hardware with "
        "instructions for them; not for exports, which choose for themselves (default: fp32)",
    )  # fmt: skip
