"""What the console shows."""

from __future__ import annotations

import io
import sys

import pytest

from utils.errors import exit_status


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "shift_jis"])
def test_every_name_can_be_printed(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """Bytes of a name that are no UTF-8, and letters that the console's encoding lacks."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    assert exit_status(lambda: print("a\udcff", "\u0153il", "\U0001f9cd")) == 0
    sys.stdout.flush()
    assert b"a\\udcff" in buffer.getvalue()
