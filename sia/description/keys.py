"""Keys and tokens from the environment: checked before they are sent, so that no library can print one it chokes on."""

from __future__ import annotations

import os
import re

from sia.errors import ConfigError

_SENDABLE = re.compile(r"[!-~]+")
"""What an HTTP header takes, without blanks."""


def read_key(variable: str) -> str | None:
    """A key from the environment, without white space around it; None where there is none.

    Args:
        variable: its name.

    Raises:
        ConfigError: it has characters that can't be sent. The message doesn't show it.
    """
    key = os.environ.get(variable, "").strip()
    if key and not _SENDABLE.fullmatch(key):
        raise ConfigError(
            f"The environment variable {variable} holds a line end, a blank or a character that HTTP can't send. "
            "Copy the key into it once more, or unset it."
        )
    return key or None
