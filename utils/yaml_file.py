"""YAML files of users: read as data, within bounds. A few hundred bytes can stand for gigabytes, or never end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sia.errors import DataError, SiaError, first_line
from sia.io.input_file import check_input_file

MOST_BYTES = 1 << 20
"""Files of flags or names of classes are a thousandth of it."""
DEEPEST = 20


class _Bounded(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses aliases, which can double what they name again and again, and deep nesting."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name), which is not read here: write the value itself")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST} times")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def compose_yaml(path: Path, what: str, hint: str, error: type[SiaError] = DataError) -> yaml.Node | None:
    """The nodes of a file with the text of every value; None where it is empty.

    Args:
        path: what the user named.
        what: names it in messages, such as ``-CONFIG``.
        hint: what to do about it.
        error: the class to raise.

    Raises:
        SiaError: it can't be read, is no YAML, too large or too deep, or has aliases.
    """
    return _read(path, what, hint, error)[1]


def load_yaml(path: Path, what: str, hint: str, error: type[SiaError] = DataError) -> Any:
    """The content of a file in plain types; see `compose_yaml`."""
    loader, node = _read(path, what, hint, error)
    try:
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as problem:
        raise error(f"{what} {path} is no YAML: {_reason(problem)}. {hint}") from None


def _read(path: Path, what: str, hint: str, error: type[SiaError]) -> tuple[_Bounded, yaml.Node | None]:
    check_input_file(path, hint, error)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise error(f"{what} {path} has more than {MOST_BYTES // 1024} KiB. {hint}")
        loader = _Bounded(path.read_text(encoding="utf-8-sig"))
        return loader, loader.get_single_node()
    except OSError as problem:
        raise error(f"{what} {path} can't be read: {problem.strerror or problem}. {hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise error(f"{what} {path} is no YAML: {_reason(problem)}. {hint}") from None


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160] or first_line(problem)
