from __future__ import annotations

import json

import pytest

from sia.errors import ConfigError
from sia.io.optional import need


def test_a_package_that_is_there() -> None:
    assert need("json", "Reading") is json


def test_a_package_that_is_not() -> None:
    with pytest.raises(ConfigError, match=r"^Reading needs the package no-such-one: pip install no-such-one$"):
        need("no_such_one", "Reading")
