"""What all commands have in common: their parser, and an output that any locale can take."""

from __future__ import annotations

import argparse
import io
import sys
from typing import Any, NoReturn

from utils.secrets import mask


class Parser(argparse.ArgumentParser):
    """No abbreviated flags, and no secret in what it complains about."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        print_in_any_locale()

    def error(self, message: str) -> NoReturn:
        """Ends with the usage and the message."""
        super().error(mask(message))


def print_in_any_locale() -> None:
    """Characters that the terminal's encoding lacks, and names that are not UTF-8, are escaped instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
