"""`sia pull`: weights out of a repository of the Hugging Face hub, into a file."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from sia.io.input_file import sha256_of
from sia.io.output_file import check_new, complete_file
from sia.sharing.hub import hub_weights, split_name


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia pull`."""
    parser.epilog = "Without it, hf:OWNER/NAME is a name of weights for every command, and is downloaded once."
    parser.add_argument("repository", metavar="OWNER/NAME", help="OWNER/NAME@REVISION for a branch, tag or commit")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write; must not exist (default: NAME with its ending)"
    )


def run(args: argparse.Namespace) -> None:
    """Writes the file, and says what it is.

    Raises:
        ConfigError: no such name, or a file that exists.
        WeightsError: the hub doesn't give it.
        OutputError: it can't be written.
    """
    repository, _ = split_name(args.repository)
    if args.output is not None:
        check_new(args.output)
    path = hub_weights(args.repository.removeprefix("hf:"))
    target = args.output or Path(repository.partition("/")[2] + path.suffix)
    check_new(target)
    with complete_file(target) as partial:
        shutil.copyfile(path, partial)
    print(f"{target}\nsha256 {sha256_of(target)}")
