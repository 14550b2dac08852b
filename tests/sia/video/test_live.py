"""What is live is never behind, comes back, and says what it left out; measured against a real server."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sia.errors import DataError
from sia.video import live
from sia.video.live import LiveReader
from sia.video.open import address_in, open_video
from sia.video.reader import VideoReader
from tests.inference_helpers import quarters, save_video
from tests.live_server import RATE, ClipServer, Http, Rtsp, age
from tests.serving import serving

SECONDS = float(os.environ.get("SIA_LIVE_SECONDS", "6"))
"""That the lag is measured for; the time for which a camera runs makes no difference to it."""


def open_live(address: str) -> LiveReader:
    reader = open_video(address)
    assert isinstance(reader, LiveReader)
    return reader


@pytest.mark.parametrize("protocol", [Http, Rtsp])
def test_a_slow_model_is_never_behind(protocol: type[StreamRequestHandler]) -> None:
    with serving(ClipServer(protocol)) as server, open_live(server.address) as reader:
        time.sleep(1)  # while a model is loaded
        begin, ages, times = time.monotonic(), [], []
        for frame in reader:
            ages.append(age(frame.image, time.monotonic()))
            times.append(float(frame.pts * reader.info.time_base))
            time.sleep(0.2)  # 5 frames a second
            if time.monotonic() - begin > SECONDS:
                break
    last, most = ages[-1], max(ages[len(ages) // 2 :])
    print(f"{len(ages)} frames in {SECONDS:.0f} s, {reader.dropped} dropped; lag {last:.3f} s, most {most:.3f} s")
    assert [frame.number, reader.dropped] == [len(ages) - 1, pytest.approx(RATE * SECONDS - len(ages), abs=15)]
    assert most < 0.5 and len(ages) > 3 * SECONDS
    assert times[0] == 0 and times[-1] == pytest.approx(SECONDS, abs=0.7) and np.diff(times).min() > 0


def test_a_slow_decoder_leaves_frames_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = VideoReader.stored

    def slow(self: VideoReader) -> Iterator[tuple]:
        for entry in stored(self):
            time.sleep(0.08)  # 12 frames a second: after 6 seconds it would be 3 behind
            yield entry

    monkeypatch.setattr(VideoReader, "stored", slow)
    with serving(ClipServer(Http)) as server, open_live(server.address) as reader:
        begin, ages = time.monotonic(), []
        for frame in reader:
            ages.append(age(frame.image, time.monotonic()))
            if time.monotonic() - begin > 6:
                break
    assert max(ages) < 2.5 and min(ages[len(ages) // 2 :]) < 0.6
    assert len(ages) + reader.dropped == pytest.approx(6 * RATE, abs=30)


def test_a_camera_that_vanishes_and_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "WAITS", (0.1, 0.2, 0.3, 0.3, 0.3))
    with serving(ClipServer(Http)) as server:
        reader = open_live(server.address.replace("127", "me:secret-word@127"))
        frames = iter(reader)
        assert next(frames).number == 0
    with reader:
        time.sleep(0.5)
        with serving(ClipServer(Http, server.server_port)):
            later = [next(frames) for _ in range(30)]
            assert age(later[-1].image, time.monotonic()) < 0.5
            assert [frame.number for frame in later] == list(range(1, 31)) and later[-1].pts > 1000
        assert len(list(frames)) < 25  # what was on the way; then it stays away
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "secret" not in str(said)
    assert "is gone (it ended): trying again 5 x within 1 s." in said[0]
    assert "is back after " in said[1] and "is gone (" in said[2]
    assert "was gone 1 x, for " in reader.warnings[0]
    assert "did not come back within 1 s (Connection refused)" in reader.warnings[1]


class Camera:
    """Two frames, then it is unplugged; plugged in again it has nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def isOpened(self) -> bool:
        return self.number == 3

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.1)
        self.left -= 1
        return self.left >= 0, quarters(40, 60)[..., ::-1]

    def release(self) -> None:
        type(self).released += 1

    left, released = 2, 0


@pytest.mark.parametrize("name", ["3", "/dev/video3"])
def test_a_camera(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Own", (Camera,), {}))
    monkeypatch.setattr(live, "WAITS", ())
    with open_live(name) as reader:
        frames = list(reader)
    assert [frame.number for frame in frames] == [0, 1] and reader.dropped == 0
    np.testing.assert_array_equal(frames[0].image, quarters(40, 60))
    assert cv2.VideoCapture.released == 1  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="Camera 4 can't be opened"):
        open_video("4")


def test_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Grabber:
        monitors = ({"top": 0}, {"top": 1})

        def __enter__(self) -> Grabber:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def grab(self, monitor: dict[str, int]) -> np.ndarray:
            return np.dstack([quarters(40, 60)[..., ::-1], np.full((40, 60), monitor["top"], np.uint8)])

    monkeypatch.setitem(sys.modules, "mss", SimpleNamespace(MSS=Grabber, ScreenShotError=RuntimeError))
    with open_live("screen") as reader:
        frames = list(itertools.islice(reader, 3))
    np.testing.assert_array_equal(frames[2].image, quarters(40, 60))
    assert 60 < frames[2].pts < 1000  # 25 frames a second
    with pytest.raises(DataError, match="There is no screen:2, only screen:0 to screen:1"):
        open_video("screen:2")


def test_a_page_with_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("yt_dlp")
    save_video(tmp_path / "walk.mp4", frames=3)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        page = f"http://127.0.0.1:{server.server_port}/walk.mp4"
        assert address_in(page) == page
        with open_video(page) as reader:
            assert isinstance(reader, VideoReader) and len(list(reader)) == 3  # it has a length
        with pytest.raises(DataError, match=r"Can't get http://\S+none: .*404") as caught:
            address_in(page.replace("walk.mp4", "none"))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
