"""Each name has one meaning, and a file goes before everything else that its name could mean."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from sia.errors import DataError
from sia.io import remote
from sia.video.source import is_video, kind_of, number_in
from tests.inference_helpers import save_video

KINDS = {
    "walk.mp4": "video",
    "photo.jpg": "images",
    "shots/**/*.jpg": "images",
    "0": "camera",
    "/dev/video12": "camera",
    "screen": "screen",
    "screen:2": "screen",
    "rtsp://me:word@camera/live": "stream",
    "http://127.0.0.1/a.mp4?key=1": "stream",
    "https://host/live.m3u8": "stream",
    "file:///tmp/a.jpg": "stream",
    "https://host/photo.JPG?size=a.mp4": "address",
    "https://www.youtube.com/watch?v=abc": "youtube",
    "https://youtu.be/abc": "youtube",
    "http://[127": "stream",
}


pytestmark = pytest.mark.usefixtures("own_folder")


def test_kinds(tmp_path: Path) -> None:
    assert {source: kind_of(source) for source in KINDS} == KINDS
    assert [number_in(source) for source in ("0", "/dev/video12", "screen", "screen:0")] == [0, 12, 1, 0]
    for name in ("0", "screen"):
        (tmp_path / name).mkdir()
        assert kind_of(name) == "images"


def send(content: bytes, monkeypatch: pytest.MonkeyPatch, terminal: bool = False) -> None:
    remote.stdin_file.cache_clear()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: terminal))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi", "a.ts", "a.mpg", "a.flv"])
def test_videos_from_stdin_are_known_by_their_content(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = "libvpx" if name == "a.webm" else "libx264"
    send(save_video(tmp_path / name, frames=3, codec=codec).read_bytes(), monkeypatch)
    assert kind_of("-") == "video" and is_video("-")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tiff", "avif"])
def test_images_from_stdin_are_known_by_their_content(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 48)).save(content, {"jpg": "jpeg"}.get(suffix, suffix))
    send(content.getvalue(), monkeypatch)
    assert kind_of("-") == "stdin" and not is_video("-")


def test_nothing_from_stdin_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, terminal, message in ((b"", False, "stdin is empty"), (b"", True, "nothing is sent: cat photo.jpg")):
        send(content, monkeypatch, terminal)
        with pytest.raises(DataError, match=message):
            kind_of("-")
