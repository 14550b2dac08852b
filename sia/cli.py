"""The command `sia`: what the library does, from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sia import __version__
from sia.commands import annotate, evaluate, export, info, lift, predict, suggest, system
from sia.commands.parser import Parser
from sia.commands.signals import sigterm_like_ctrl_c
from sia.errors import exit_status
from sia.sharing import demo, pull, push


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command and its flags; ``run`` is what carries it out."""
    parser = Parser(prog="sia", description="Finds people and their keypoints in images and videos.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module, name, summary in (
        (predict, "predict", "find people in images or in a video: annotated files, and results as JSON"),
        (evaluate, "evaluate", "measure AP and AR, and explain the errors: a table, a page, and JSON"),
        (export, "export", "write weights as ONNX or OpenVINO, and check the file against PyTorch"),
        (lift, "lift", "lift the tracked people of a video to 3D: joints in metres, TRC, C3D, BVH, and a picture"),
        (suggest, "suggest", "choose the images that are worth most to label next"),
        (annotate, "annotate", "label images by a model, for people to correct in a labelling tool"),
        (info, "info", "say what is in a file of weights"),
        (system, "system", "say what this machine and this installation have"),
        (demo, "demo", "open a page in the browser to try a model: image, camera, video"),
        (push, "push", "send weights to the Hugging Face hub, with a model card"),
        (pull, "pull", "get weights from the Hugging Face hub"),
    ):
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        module.add_flags(command)
        command.set_defaults(run=module.run)
    version = commands.add_parser("version", help="print the version", description="Prints the version.")
    version.set_defaults(run=lambda args: print(__version__))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    run = vars(args).pop("run")  # all the rest are flags, which run.json has
    with sigterm_like_ctrl_c():
        return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
