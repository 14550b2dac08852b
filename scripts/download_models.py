"""Fetches published models: checked, resumable, with their licences.

python scripts/download_models.py --list
python scripts/download_models.py --model vitpose
python scripts/download_models.py --model dwpose --mirror /media/weights
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser
from sia.errors import ConfigError, exit_status
from utils.model_files import fetch_model
from utils.published_models import MODELS, PublishedModel, find_model


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Fetches published models, checks them, and goes on with broken downloads.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", nargs="+", metavar="NAME", help="models or families (vitpose, dwpose, ...)")
    what.add_argument("--list", action="store_true", help="show all models, with size, checksum and licence")
    add = parser.add_argument
    add("--output_dir", type=Path, default=Path("weights"), metavar="DIR", help="where to (default: weights)")
    add("--mirror", metavar="DIR|URL", help="take the files from there: MODEL/FILE, as in an --output_dir")
    add("--accept_license", action="store_true", help="agree to the licences that ask for it; read them first")
    return parser.parse_args(argv)


def list_models() -> str:
    """A table, and what its last column means."""
    rows = [("NAME", "SIZE", "CHECKED", "LICENCE", "WHAT IT IS")]
    for model in MODELS:
        weights = model.files[-1]  # what is beside them is small, and checked from the first use on
        size = f"{weights.bytes / 1e6:,.0f} MB" if weights.bytes else "?"
        checked = "sha256" if weights.sha256 else "first use"
        rows.append((model.name, size, checked, model.license.name + "*" * bool(model.license.consent), model.about))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
    return "\n".join([*lines, "* asks for your agreement: --accept_license"])


def agree(model: PublishedModel, accepted: bool) -> None:
    """Shows the licence, and asks where it wants to be asked for.

    Raises:
        ConfigError: no agreement.
    """
    terms = model.license
    print(f"{model.name}: {terms.name}, {terms.link}")
    if not terms.consent or accepted:
        return
    asked = f"{model.name} is under the {terms.name}: {terms.consent} ({terms.link})."
    if not sys.stdin.isatty():
        raise ConfigError(f"{asked} Agree with --accept_license.")
    if input(f"{asked}\nDo you agree? Type yes: ").strip().lower() != "yes":
        raise ConfigError(f"{model.name} was not fetched: its licence was not agreed to.")


def fetch(args: argparse.Namespace) -> None:
    """Fetches all models, each after its licence was agreed to."""
    models = list(dict.fromkeys(find_model(name) for name in args.model))
    for model in models:
        agree(model, args.accept_license)
    for model in models:
        fetch_model(model, args.output_dir, args.mirror)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; every error is one line and status 1."""
    args = parse_args(argv)
    if args.list:
        print(list_models())
        return 0
    return exit_status(lambda: fetch(args), stopped="Stopped. The same command goes on from here.")


if __name__ == "__main__":
    sys.exit(main())
