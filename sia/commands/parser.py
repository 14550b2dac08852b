"""What all commands have in common: their parser, and an output that any locale can take."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from sia.errors import show_every_name
from sia.io.secrets import mask


class Parser(argparse.ArgumentParser):
    """No abbreviated flags, and no secret in what it complains about."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        show_every_name()

    def error(self, message: str) -> NoReturn:
        """Ends with the usage and the message."""
        super().error(mask(message))
