from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

import sia
from sia.errors import ConfigError, DataError, OutputError
from sia.formats.door import FORMATS, Results, Target, parse_targets, writer_class
from sia.formats.writer import About, Record
from sia.people import People


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
        ("labelstudio:own.json", "own.xml exists already"),
        ("cvat:a.xml,labelstudio:a.json", "two formats would go to a.xml"),
    ],
)
def test_targets_that_can_not_be(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("there", "own.xml"):
        (tmp_path / name).touch()
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


def test_rows_before_an_error_are_kept(frames: list[Record], tmp_path: Path) -> None:
    def stream() -> Iterator[People]:
        yield from (record.people for record in frames[:2])
        raise DataError("the camera is away")

    with pytest.raises(DataError, match="the camera"):
        sia.save_results(stream(), tmp_path / "walk.jsonl")
    assert len((tmp_path / "walk.jsonl").read_text().splitlines()) == 2
    (tmp_path / "own.xml").write_text("mine")
    with pytest.raises(ConfigError, match=r"own\.xml exists already"):
        sia.save_results(frames[0].people, tmp_path / "own.json", format="labelstudio")


def test_all_formats_are_completed_where_one_fails(frames: list[Record], tmp_path: Path) -> None:
    results = Results(parse_targets("coco,jsonl"), tmp_path, "walk", About(frames[0].people.skeleton, 0.3))
    results.add(frames[0])
    results._writers[0].close = Mock(side_effect=OutputError("full"))  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="full"):
        results.close()
    assert len((tmp_path / "walk.jsonl").read_text().splitlines()) == 1


def test_a_missing_package_is_said_before_any_work(
    frames: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(ConfigError, match=r"needs the package sleap-io.*pip install sleap-io"):
        sia.save_results(frames[0].people, tmp_path / "a.slp")
    assert not list(tmp_path.iterdir())
