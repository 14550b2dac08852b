"""Packages that only some commands need: imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from sia.errors import ConfigError


def need(package: str, purpose: str) -> Any:
    """Imports a package that is not among the project's requirements.

    Args:
        package: its name, for Python and for pip.
        purpose: what it is needed for, in a few words.

    Raises:
        ConfigError: it is not installed, or can't be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == package else f" ({error})"
        name = package.replace("_", "-")
        raise ConfigError(f"{purpose} needs the package {name}{reason}: pip install {name}") from error
