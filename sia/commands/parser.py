"""What all commands have in common: their parser, and an output that any locale can take."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from sia.errors import show_every_name
from sia.io.first_edition import rename_flags
from sia.io.secrets import mask


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
