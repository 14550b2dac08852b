"""What the product reads back, in JSON or out of a checkpoint: checked against a schema before anything is built of it.

A schema is a dataclass or Struct; msgspec's messages name the place of the first fault, such as ``$.cursor.epoch``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from sia.errors import DataError, SiaError, first_line
from sia.io.input_file import check_input_file

Schema = TypeVar("Schema")

Finite = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""A number that is one: neither NaN nor infinite, nor so large that its square is."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Place = Annotated[str, Meta(min_length=1, pattern=r"\A[^\0]*\Z")]
"""A path as text: a null byte is no part of any."""


def read_stored(path: Path, schema: type[Schema], what: str, remedy: str, error: type[SiaError] = DataError) -> Schema:
    """The content of a JSON file that this program has written.

    Args:
        path: the file.
        schema: what it has to be.
        what: the file is, for the message.
        remedy: what to do where it can't be used.
        error: the class to raise.

    Raises:
        SiaError: it is missing, unreadable, or not what it has to be.
    """
    check_input_file(path, remedy, error)
    try:
        return msgspec.json.decode(path.read_bytes(), type=schema)
    except OSError as problem:
        raise error(f"Can't read the {what} {path}: {problem.strerror or problem}. {remedy}") from None
    except (ValueError, RecursionError) as problem:  # those of msgspec are ValueErrors
        raise error(f"The {what} {path} can't be used: {problem}. {remedy}") from None


def checked(values: Any, schema: Any, name: str, remedy: str, error: type[SiaError] = DataError) -> Any:
    """Plain values out of a checkpoint as the schema has them.

    Args:
        values: dictionaries, lists and numbers; objects of a class that the schema names stay what they are.
        schema: what they have to be.
        name: how the message begins.
        remedy: how it ends.
        error: the class to raise.

    Raises:
        SiaError: they are not.
    """
    try:
        return msgspec.convert(values, schema)
    except (ValueError, RecursionError) as problem:
        raise error(f"{name}: {first_line(problem)}. {remedy}") from None
    except Exception:  # a tensor in the place of an object: msgspec looks into it, and it raises whatever it likes
        raise error(f"{name}: there is a tensor in a wrong place. {remedy}") from None
