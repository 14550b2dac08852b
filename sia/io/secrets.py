"""Keys, tokens and passwords: never shown or written (what may hold what a user typed goes through `mask`)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from urllib.parse import quote, unquote

MASK = "***"

_SENDABLE = re.compile(r"[!-~]+")
"""What an HTTP header takes, without blanks."""
_NAMED = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
"""Environment variables that hold a secret."""
_LEAST = 6
"""Shorter texts are not looked for where they stand alone: they would be found in ordinary words."""
_USER = re.compile(r"(\w\w:/+)[^\s/?#'\"]*@")
"""Up to the last @ of the host; pathlib makes one slash of two."""
_USER_WITH_SLASH = re.compile(r"(\w\w:/+)[^\s/@'\"]*?:(?!\d+(?:[/?#\s]|$))[^\s'\"]*@")
_QUERY = re.compile(
    r"([?&#;](?:[\w-]*(?:token|key|secret|passw(?:or)?d|pwd|signature|credential)|sig|auth)=)[^&#;\s'\"]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[^\s'\"]+")
_IN_WORD = re.compile(
    r"\w\w:/+([^/?#]*|[^/@]*?:(?!\d+(?:[/?#]|$)).*)@|^([^/:@\s]+:[^/@\s]+)@[\w.-]+(?::\d+)?/", re.DOTALL
)
"""Of one whole word, which may have blanks and line ends; with or without a scheme."""


def mask(text: str) -> str:
    """The text without the secrets of the environment, and without what addresses have before the @ or in a query."""
    for secret in sorted(set(_known()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    for pattern in (_USER, _USER_WITH_SLASH):
        text = pattern.sub(rf"\1{MASK}@", text)
    return _QUERY.sub(rf"\1{MASK}", text)


def _known() -> Iterator[str]:
    """The secrets that this process was given, as they may stand in a message: whole, in parts, or escaped."""
    for name, value in os.environ.items():
        if _NAMED.search(name):
            yield from _forms(value)
    for word in (*os.environ.values(), *sys.argv[1:]):
        if found := _IN_WORD.search(word):
            user = found[1] or found[2] or ""
            yield from _forms(user)
            yield from _forms(user.partition(":")[2])


def _forms(secret: str) -> Iterator[str]:
    for part in (secret, *secret.split(), *secret.split("/")):
        forms = (part, part.strip(), unquote(part), quote(part, errors="replace"), repr(part)[1:-1], ascii(part)[1:-1])
        yield from (form for form in forms if len(form) >= _LEAST)


def read_key(variable: str) -> str | None:
    """A key from the environment, without white space around it; None where there is none.

    Args:
        variable: its name.

    Raises:
        ConfigError: it has characters that can't be sent. The message doesn't show it.
    """
    from sia.errors import ConfigError  # which prints through `mask`

    key = os.environ.get(variable, "").strip()
    if key and not _SENDABLE.fullmatch(key):
        raise ConfigError(
            f"The environment variable {variable} holds a line end, a blank or a character that HTTP can't send. "
            "Copy the key into it once more, or unset it."
        )
    return key or None
