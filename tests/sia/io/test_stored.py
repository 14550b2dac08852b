"""Files that are read back: one line for every fault, with the place of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import Struct

from sia.errors import DataError
from sia.io.stored import Count, Finite, Place, Sha256, checked, read_stored


class Content(Struct):
    names: dict[str, Place]
    count: Count
    figure: Finite = 0.0
    digest: Sha256 | None = None


def test_what_fits_is_typed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"names": {"a": "b/c"}, "count": 3, "figure": 2, "later": [1]}')
    content = read_stored(tmp_path / "a.json", Content, "note", "Make it anew.")
    assert (content.names, content.count, content.figure) == ({"a": "b/c"}, 3, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Input data was truncated"),
        ('{"names": ' + '{"a":' * 100_000, "at `$.names[...]`"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `names`"),
        ('{"names": {}, "count": "3"}', "Expected `int`, got `str` - at `$.count`"),
        ('{"names": {}, "count": -1}', "at `$.count`"),
        ('{"names": {}, "count": 1' + 6000 * "0" + "}", "at `$.count`"),
        ('{"names": {}, "count": 1, "figure": 1e999}', "$.figure"),
        ('{"names": {}, "count": 1, "figure": NaN}', "malformed"),
        ('{"names": {"a": "b\\u0000"}, "count": 1}', "$.names[...]"),
        ('{"names": {}, "count": 1, "digest": "../../etc"}', "$.digest"),
    ],
)
def test_what_does_not_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_stored(path, Content, "note", "Make it anew.")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"The note {path} can't be used: ")
    assert str(caught.value).endswith("Make it anew.")
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DataError, match="a pipe"):
        read_stored(tmp_path / "a.json", Content, "note", "Make it anew.")


def test_plain_values(tmp_path: Path) -> None:
    values: dict[str, Any] = {"names": {}, "count": 1, "figure": float("nan")}
    with pytest.raises(DataError, match=r"^last\.pt: .*\$\.figure"):
        checked(values, Content, "last.pt", "Start anew.")
    values["figure"] = values
    with pytest.raises(DataError):
        checked(values, Content, "last.pt", "Start anew.")
    with pytest.raises(DataError, match=r"^last\.pt: there is a tensor in a wrong place\. Start anew\.$"):
        checked(torch.zeros(3), Content, "last.pt", "Start anew.")
