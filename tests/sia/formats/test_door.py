from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sia
from sia.errors import ConfigError
from sia.formats.door import FORMATS, Target, parse_targets, writer_class
from sia.formats.writer import Record


def test_targets() -> None:
    assert parse_targets("coco, csv:people.csv,jsonl:-") == [
        Target("coco", None), Target("csv", Path("people.csv")), Target("jsonl", Path("-")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cocoa", "The format cocoa is unknown. Did you mean coco"),
        ("", "The format  is unknown"),
        ("csv,csv:b.csv", "csv is there twice"),
        ("csv:", "a path is missing"),
        ("csv:a,jsonl:a", "two formats would go to a"),
        ("parquet:-", "only jsonl and csv go to standard output"),
        ("csv:there", "there exists already"),
    ],
)
def test_targets_that_can_not_be(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    with pytest.raises(ConfigError, match=message) as caught:
        parse_targets(text)
    assert "\n" not in str(caught.value)


def test_names_never_meet() -> None:
    suffixes = {writer_class(name).SUFFIX for name in FORMATS}
    assert len(suffixes) == len(FORMATS)


def test_from_python(frames: list[Record], tmp_path: Path) -> None:
    stream = (record.people for record in frames)
    assert sia.save_results(stream, tmp_path / "walk.jsonl") == tmp_path / "walk.jsonl"
    assert len((tmp_path / "walk.jsonl").read_text().splitlines()) == 3
    sia.save_results(frames[0].people, tmp_path / "cvat.xml", format="cvat")
    assert 'name="walk_000000.jpg"' in (tmp_path / "cvat.xml").read_text()
    with pytest.raises(ConfigError, match="exists already"):
        sia.save_results(frames[0].people, tmp_path / "walk.jsonl")
    with pytest.raises(ConfigError, match="The format xml is unknown"):
        sia.save_results(frames[0].people, tmp_path / "other.xml")
    with pytest.raises(ConfigError, match="nothing to save"):
        sia.save_results([], tmp_path / "none.csv")


def test_a_missing_package_is_said_before_any_work(
    frames: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(ConfigError, match=r"needs the package sleap-io.*pip install sleap-io"):
        sia.save_results(frames[0].people, tmp_path / "a.slp")
    assert not list(tmp_path.iterdir())
