"""YAML of users: within bounds, in no time, and one clear line for everything else."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from sia.errors import DataError
from utils.yaml_file import MOST_BYTES, compose_yaml, load_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "has an alias"),
        ("a: &a [*a]", "has an alias"),
        ("[" * 5000, "is nested more than"),
        ("- " * 5000, "is nested more than"),
        ("{a: " * 5000, "is nested more than"),
        ("a: [1", "is no YAML"),
        ("a: 1\n b: 2", "is no YAML"),
        ("? [a, b]\n: 1", "is no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is no YAML"),
        ("a" * (MOST_BYTES + 1), "has more than 1024 KiB"),
    ],
)
def test_what_would_never_end_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load_yaml(file, "The file", "Give another.")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_pipes_and_folders_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "not a regular file"), (".", "a folder"), ("none", "no such file")):
        with pytest.raises(DataError, match=message):
            compose_yaml(tmp_path / name, "The file", "Give another.")


def test_plain_files_are_read_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text("\ufeffnames: {0: oeil, 1: \u0153il}\nkpt_shape: [17, 3]\n", encoding="utf-8")
    assert load_yaml(file, "The file", "") == {"names": {0: "oeil", 1: "\u0153il"}, "kpt_shape": [17, 3]}
    file.write_text("")
    assert load_yaml(file, "The file", "") is None
