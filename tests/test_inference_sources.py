"""What `sia predict` reads beside files: addresses, stdin, folders that fill, live streams; and what it shows."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from sia.cli import main
from sia.drawing import window
from sia.io import remote
from sia.runtimes.predictor import Predictor
from tests.inference_helpers import frame_times, name_quarters, quarters, save_video
from tests.live_server import ClipServer, Http
from tests.serving import serving
from tests.sia.io.test_remote import Images

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def predict(weights: Path) -> Callable[..., int]:
    return lambda source, *flags: main(
        ["predict", str(source), "--weight_path", str(weights), "--device", "cpu", "--output_dir", "out", *flags]
    )


def about(name: str = "run.json") -> dict:
    return json.loads(Path("out", name).read_text())


def send(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.stdin_file.cache_clear()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))


def png(height: int = 40, width: int = 60) -> bytes:
    content = io.BytesIO()
    Image.fromarray(quarters(height, width)).save(content, "png")
    return content.getvalue()


def after(condition: Callable[[], bool], action: Callable[[], None]) -> None:
    """Does it in a thread, once the condition holds."""

    def wait() -> None:
        end = time.monotonic() + 60
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        action()

    threading.Thread(target=wait, daemon=True).start()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_image_by_its_address(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Images)) as server:
        place = f"http://127.0.0.1:{server.server_port}"
        assert predict(f"{place}/photo?key=hidden-word") == 0
        assert [image["file_name"] for image in about()["images"]] == ["photo"]
        assert (Path("out") / "photo.jpg").is_file() and "hidden-word" not in Path("out/run.json").read_text()
        assert predict(f"{place}/to/ftp://host/a.jpg") == 1
    error = capsys.readouterr().err
    assert "which is not followed" in error and error.count("\n") == 1


def test_an_image_from_stdin(
    predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send(png(), monkeypatch)
    assert predict("-", "--conf_thresh", "0") == 0
    assert [(image["file_name"], image["width"]) for image in about()["images"]] == [("stdin", 60)]
    assert len(about("results.json")) > 0 and (Path("out") / "stdin.jpg").is_file()
    send(b"no image", monkeypatch)
    assert predict("-") == 1
    assert capsys.readouterr().err.startswith("error: Can't read the image stdin: it is not an image")


def test_one_line_of_json_and_nothing_else_on_stdout(
    predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    send(png(), monkeypatch)
    assert predict("-", "--save", "jsonl:-", "--conf_thresh", "0") == 0
    said = capfd.readouterr()
    (line,) = said.out.splitlines()
    assert json.loads(line)["file_name"] == "stdin" and json.loads(line)["people"]
    assert "Written:" in said.err


def test_a_video_from_stdin(predict: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_video(tmp_path / "a.mp4", frames=4, sound="aac")  # whose index is at its end
    send(source.read_bytes(), monkeypatch)
    assert predict("-", "--track") == 0
    assert frame_times(Path("out/stdin.mp4")) == frame_times(source)
    assert about()["video"] == "-" and about()["frames"] == 4 and "frames_dropped" not in about()


def test_a_folder_is_watched_until_ctrl_c(
    predict: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, content = tmp_path / "in", tmp_path / "out", png()
    folder.mkdir()
    (folder / "10.png").write_bytes(content)
    (folder / "9.png").write_bytes(content)

    def add() -> None:
        (folder / "notes.txt").touch()
        (folder / "broken.jpg").write_bytes(b"nothing")
        with (folder / "late.png").open("wb") as file:
            for start in range(0, len(content), 1 + len(content) // 5):
                file.write(content[start : start + 1 + len(content) // 5])
                file.flush()
                time.sleep(0.15)  # less than until a file is taken for whole
        after((out / "late.png").is_file, stop)

    after((out / "10.png").is_file, add)
    assert predict(folder, "--watch") == 130
    assert [Path(image["file_name"]).name for image in about()["images"]] == ["9.png", "10.png", "late.png"]
    assert [image["id"] for image in about()["images"]][:2] == [1, 2] and about()["complete"]
    assert [Path(image["file"]).name for image in about()["unreadable"]] == ["broken.jpg"]
    assert "Stopped early" in capsys.readouterr().err


def test_a_live_stream_ends_with_ctrl_c_even_when_it_is_silent(
    predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find, begin, calls = Predictor.predict, time.monotonic(), list[float]()

    def slow(self: Predictor, images: list[np.ndarray]) -> list:
        calls.append(time.monotonic())
        time.sleep(0.2)
        assert len(images) == 1
        return find(self, images)

    monkeypatch.setattr(Predictor, "predict", slow)
    with serving(ClipServer(Http)) as server:
        after(lambda: len(calls) == 6, lambda: vars(server).update(silent=True))
        after(lambda: len(calls) >= 6 and time.monotonic() - calls[-1] > 1, stop)
        assert predict(server.address, "--track", "--batch_size", "8") == 130
    assert time.monotonic() - begin < 30
    rows = [json.loads(line) for line in Path("out/stream.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(len(calls))) and rows[0]["time"] == 0
    assert rows[5]["time"] == pytest.approx(calls[5] - calls[0], abs=0.3)
    assert about()["frames_dropped"] > 10 and not about()["complete"]
    np.testing.assert_allclose([float(t) for t in frame_times(Path("out/stream.mp4"))], [r["time"] for r in rows])
    assert f"{about()['frames_dropped']} frames dropped to keep up" in capsys.readouterr().out
    assert predict(server.address, "--smooth", "offline") == 1


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What a window showed, in which somebody types q at the third image."""
    images: list[np.ndarray] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:           QT5\n")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: images.append(image.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(images) == 3 else -1)
    return images


def test_a_window_shows_what_is_drawn_until_q(
    predict: Callable[..., int], tmp_path: Path, shown: list[np.ndarray]
) -> None:
    assert predict(save_video(tmp_path / "a.mp4", frames=20), "--show", "--batch_size", "1") == 130
    assert len(shown) == about()["frames"] == 3
    assert name_quarters(shown[0][..., ::-1]) == "RGBW"


def test_a_window_stays_after_the_last_image(
    predict: Callable[..., int], tmp_path: Path, shown: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    keys = [-1, -1, -1, ord("x")]
    monkeypatch.setattr(cv2, "waitKey", lambda _: keys.pop(0))
    assert predict("a.png", "--show") == 0
    assert keys == [] and name_quarters(shown[0][..., ::-1]) == "RGBW"


@pytest.mark.parametrize(
    ("gui", "display", "message"),
    [("NONE", ":0", "pip install opencv-contrib-python"), ("QT5", "", "needs a display")],
)
def test_no_window_is_one_line(
    gui: str, display: str, message: str, predict: Callable[..., int], tmp_path: Path, shown: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: f"\n  GUI:           {gui}\n")
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert predict("a.png", "--show") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not shown


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("none", ["--watch"], "none: no such folder"),
        (".", ["--watch", "--ann_file", "a.json"], "--ann_file can't know the images"),
        ("0", ["--reader", "decord"], "decord reads files only"),
        ("0", ["--describe"], "--describe is for images"),
        ("97", [], "Camera 97 can't be opened"),
        ("screen", [], "needs the package mss: pip install mss"),
        ("https://youtu.be/abc", [], "needs the package yt-dlp: pip install yt-dlp"),
        ("rtsp://127.0.0.1:9/a", [], "Connection refused"),
    ],
)
def test_what_can_not_be_read_is_one_line(
    source: str, flags: list[str], message: str, predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for package in ("mss", "yt_dlp"):
        monkeypatch.setitem(sys.modules, package, None)
    assert predict(source, *flags) == 1
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not Path("out").exists()
