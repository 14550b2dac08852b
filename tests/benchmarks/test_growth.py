"""The table of how the cost of a step grows."""

from __future__ import annotations

import pytest

from benchmarks import growth


def test_each_kind_is_compared_with_its_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "VALUES", {"people": (1, 3), "tokens": (4, 8), "side": (64, 96), "batch": (2, 4)})
    assert growth.main("--size test --steps 1".split()) == 0  # noqa: SIM905
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line[:1] == "|" and line[2].isalpha()]
    assert [row[0].strip("| ") for row in rows] == [kind for kind in growth.VALUES for _ in range(2)]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first[3] == "1.00"
        assert float(second[4]) > float(first[4])  # more of anything keeps more
