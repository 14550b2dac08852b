"""Everything in a folder is found, or named with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sia.coco.image_ids import ImageIds
from sia.errors import DataError
from sia.io.image_folder import find_images


def names(folder: Path, said: list[str]) -> list[str]:
    return [path.name for path in find_images(str(folder), said.append)]


def test_endings_that_pillow_reads_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.heic", "c.jfif", "d.jpe", "e.tga", "f.mpo", "notes.txt", "clip.mp4", "raw.cr2"):
        (tmp_path / name).touch()
    for name in ("._a.jpg", "Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nothing.png")
    said: list[str] = []
    assert names(tmp_path, said) == ["a.JPG", "b.heic", "c.jfif", "d.jpe", "e.tga", "f.mpo"]
    assert sorted(line.split(" left out")[0] for line in said) == [
        "below", "clip.mp4", "link.png, pipe.png", "notes.txt, raw.cr2"
    ]  # fmt: skip
    assert not [line for line in said if "Thumbs" in line or "DS_Store" in line]


def test_many_files_are_counted(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.png").touch()
    said: list[str] = []
    assert names(tmp_path, said) == ["a.png"]
    assert "and 4 more left out" in said[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"has no images directly in it.*4 more left out"):
        names(tmp_path, said)


@pytest.mark.parametrize("pattern", ["", " ", "*.jpg\0", "~nobody.jpg", "x" * 5000])
def test_paths_that_name_nothing_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()  # the current folder isn't meant
    with pytest.raises(DataError, match="--image_path"):
        find_images(pattern)


def test_odd_names_are_found_and_ordered(tmp_path: Path) -> None:
    odd = ["10.png", "2.png", "²x.png", "٣.png", "~me.png", "9" * 240 + ".png", os.fsdecode(b"\xff\xfe.png")]
    for name in odd:
        (tmp_path / name).touch()
    found = find_images(str(tmp_path))
    assert {path.name for path in found} == set(odd)
    assert [path.name for path in found if path.name in odd[:2]] == ["2.png", "10.png"]
    assert [path.name for path in find_images(str(tmp_path / "*.png"))] == [path.name for path in found]
    assert len({*ImageIds.numbered(found).of.values()}) == len(found)
