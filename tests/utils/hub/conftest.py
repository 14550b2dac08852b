from __future__ import annotations

import pytest

from utils.hub import download


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second attempts come at once."""
    monkeypatch.setattr(download, "PAUSE", 0.001)
