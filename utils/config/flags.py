"""The command line of train_pose.py, made from the fields of `TrainConfig`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

from sia.commands.parser import Parser
from sia.commands.values import image_size
from sia.errors import ConfigError, unknown
from sia.io.first_edition import rename_flags
from utils.config.declaration import batch_size, format_value, name_list
from utils.config.train_config import flag_fields


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Reads the command line.

    Returns:
        The values given, by field name; flags left out are absent, so that a resumed run can supply them.

    Raises:
        ConfigError: an unknown or abbreviated flag, a missing or malformed value.
    """
    words = rename_flags(argv)
    _check_names(words)
    return vars(_parser().parse_args(words))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="train_pose.py",
        description="Train a multi-person pose estimator on images with COCO keypoint annotations.",
        epilog="Several processes: torchrun --nproc_per_node=N train_pose.py ... (see docs/training.md).",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32),
        argument_default=argparse.SUPPRESS,
    )
    titles = dict.fromkeys(entry.metadata["group"] for entry in flag_fields())
    groups = {title: parser.add_argument_group(title) for title in titles}
    for entry in flag_fields():
        _declare(groups[entry.metadata["group"]], entry)
    return parser


def _declare(group: Any, entry: Field[Any]) -> None:
    meta = entry.metadata
    text = meta["text"].replace("%", "%%")
    if meta["kind"] is bool:
        group.add_argument(meta["flag"], dest=entry.name, action="store_true", help=f"{text} Default: off.")
        return
    default = "required" if entry.default is MISSING else f"default: {_default_text(entry)}"
    choices = f" One of: {', '.join(meta['choices'])}." if meta["choices"] else ""
    group.add_argument(
        meta["flag"],
        dest=entry.name,
        type=_reader(entry),
        metavar=_KINDS.get(meta["kind"], ("NAME", ""))[0],
        help=f"{text}{choices} ({default})",
    )


_KINDS: dict[Any, tuple[str, str]] = {
    int: ("N", "give a whole number"),
    batch_size: ("N", "give a whole number from 1 on, or auto"),
    float: ("X", "give a number"),
    Path: ("PATH", ""),
    image_size: ("SIZE", ""),
    name_list: ("NAMES", ""),
}
"""How the help names a value, and what to do about one that can't be read; `image_size` says that itself."""

_NONE = ("backbone", "teacher", "members", "llm", "llm_url")
"""Texts whose default None means none, not auto."""


def _default_text(entry: Field[Any]) -> str:
    is_none = entry.default is None and (entry.metadata["kind"] is Path or entry.name in _NONE)
    return "none" if is_none else format_value(entry.default)


def _reader(entry: Field[Any]) -> Callable[[str], Any]:
    """Converts one value; ``auto`` is None where the flag has an automatic choice."""

    def read(text: str) -> Any:
        if text == "auto" and entry.default is None:
            return None
        try:
            return entry.metadata["kind"](text)
        except ValueError as error:
            hint = _KINDS[entry.metadata["kind"]][1] or error
            raise ConfigError(f"{entry.metadata['flag']} '{text}': {hint}.") from error

    return read


class _Parser(Parser):
    """Raises where argparse would leave the program."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}. See python {self.prog} --help.")


def _check_names(argv: Sequence[str]) -> None:
    """Argparse takes prefixes of single-dash words whatever allow_abbrev says, so names are compared here."""
    known = [f.metadata["flag"] for f in flag_fields()] + ["-h", "--help"]
    for word in argv:
        name = word.split("=", 1)[0]
        if name.startswith("-") and not _is_number(word) and name not in known:
            raise ConfigError(unknown("flag", name, known))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
