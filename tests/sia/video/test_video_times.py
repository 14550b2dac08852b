"""Times, aspect and damage as the file has them, in every container and by every reader."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sia.errors import ConfigError, DataError
from sia.video.open import open_video
from sia.video.reader import VideoReader
from sia.video.writer import VideoWriter
from tests.inference_helpers import copy_video, frame_times, save_video

DROPPED = [0, 1, 2, 3, 4, 12, 19, 20, 21, 26, 27, 28, 29]
"""In 25ths of a second; what an AVI file has between is empty."""


def save_avi(path: Path, codec: str, times: Sequence[int], b_frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": str(b_frames)})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * time % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, change: Callable[[int], int | None] = lambda t: t, **options: str) -> Path:
    """The same packets with other time stamps, in their own unit."""
    with av.open(str(source)) as original, av.open(str(target), "w", options=options) as container:
        stream = container.add_stream_from_template(original.streams.video[0])
        for packet in original.demux(original.streams.video[0]):
            if packet.dts is not None:
                packet.pts, packet.dts = change(packet.pts), change(packet.dts)
                packet.stream = stream
                container.mux(packet)
    return target


def times_of(source: Path, reader: str = "av") -> list[Fraction]:
    with open_video(str(source), reader) as video:
        times = [frame.pts * video.info.time_base for frame in video]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert not [line for line in video.warnings if "breaks off" in line]
    return times


@pytest.mark.parametrize("reader", ["av", "decord"])
@pytest.mark.parametrize(("codec", "b_frames"), [("mpeg4", 0), ("libx264", 0), ("libx264", 2)])
def test_avi_with_dropped_frames(tmp_path: Path, codec: str, b_frames: int, reader: str) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    source = save_avi(tmp_path / "a.avi", codec, DROPPED, b_frames)
    assert times_of(source, reader) == [Fraction(time, 25) for time in DROPPED]


@pytest.mark.parametrize("reader", ["av", "decord"])
def test_avi_of_which_every_other_frame_is_dropped(tmp_path: Path, reader: str) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    source = save_avi(tmp_path / "a.avi", "libx264", range(0, 24, 2), 0)
    assert times_of(source, reader) == [Fraction(time, 25) for time in range(0, 24, 2)]


def test_an_avi_cut_off_is_told_from_one_that_ends_with_dropped_frames(tmp_path: Path) -> None:
    content = save_avi(tmp_path / "a.avi", "mpeg4", range(50), 0).read_bytes()
    (tmp_path / "b.avi").write_bytes(content[: len(content) // 2])
    with VideoReader(str(tmp_path / "b.avi")) as video:
        count = len(list(video))
    assert f"after frame {count - 1} " in video.warnings[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_repeated_stamps_are_moved_by_next_to_nothing(tmp_path: Path, name: str) -> None:
    plain = save_video(tmp_path / "plain.mp4", frames=12, bf="0")
    with av.open(str(plain)) as container:
        frame = container.streams.video[0].average_rate and round(
            Fraction(1, 25) / container.streams.video[0].time_base
        )
    source = remux(plain, tmp_path / name, lambda t: t // (2 * frame) * 2 * frame + (t // frame) % 2)
    times = times_of(source)
    assert all(abs(time - Fraction(i // 2 * 2, 25)) <= Fraction(2, 1000) for i, time in enumerate(times))
    copy = tmp_path / "copy.mp4"
    copy_video(source, copy)
    assert frame_times(copy) == times


def test_a_clock_that_wraps_around(tmp_path: Path) -> None:
    plain = save_video(tmp_path / "plain.mp4", frames=20)
    with av.open(str(plain)) as container:
        end = round((2**33 - 45000) / 90000 / container.streams.video[0].time_base)  # 0.5 s before the end of its bits
    source = remux(plain, tmp_path / "a.ts", lambda t: t + end, mpegts_copyts="1")
    assert times_of(source) == [Fraction(i, 25) for i in range(20)]


def test_a_recording_that_was_restarted_goes_on(tmp_path: Path) -> None:
    part = save_video(tmp_path / "part.ts", frames=25).read_bytes()
    (tmp_path / "a.ts").write_bytes(part + part)
    assert times_of(tmp_path / "a.ts") == [Fraction(i, 25) for i in range(50)]


def test_edit_lists_are_obeyed_by_every_reader(tmp_path: Path) -> None:
    content = bytearray(save_video(tmp_path / "plain.mp4", frames=25).read_bytes())
    at = content.index(b"elst") + 12  # duration in ms, start of the media in its own unit
    with av.open(str(tmp_path / "plain.mp4")) as container:
        unit = container.streams.video[0].time_base
    begin = int.from_bytes(content[at + 4 : at + 8], "big") + round(Fraction(12, 100) / unit)
    content[at : at + 8] = (600).to_bytes(4, "big") + begin.to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(content)
    assert times_of(tmp_path / "a.mp4") == [Fraction(i, 25) for i in range(15)]
    pytest.importorskip("decord")
    with pytest.raises(ConfigError, match="--reader av"):  # it shows frames that were cut away
        open_video(str(tmp_path / "a.mp4"), "decord")


@pytest.mark.parametrize("reader", ["av", "decord"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pixels_that_are_not_square(tmp_path: Path, name: str, reader: str) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with open_video(str(tmp_path / name), reader) as video:
        (frame,) = video
    assert frame.image.shape == (64, 96, 3)
    with VideoWriter(tmp_path / "copy.mp4", video.info, (64, 96)) as writer:
        writer.write(frame.image, frame.pts, frame.duration)
        writer.finish(complete=True)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert copy.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


def test_damage_that_the_decoder_hides_is_told(tmp_path: Path) -> None:
    content = bytearray(save_video(tmp_path / "a.mp4", frames=30, noise=60, bf="0").read_bytes())
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for pos, size in packets[14:16]:  # not what tells the decoder that there is a frame
        content[pos + size // 2 : pos + size] = bytes(size - size // 2)
    (tmp_path / "b.mp4").write_bytes(content)
    with VideoReader(str(tmp_path / "b.mp4")) as video:
        count = len(list(video))
    (line,) = (line for line in video.warnings if "damaged" in line)
    assert f"of {count} frames are damaged" in line
    assert " 14" in line


def test_frames_with_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_video(tmp_path / "a.mp4", frames=2)
    monkeypatch.setenv("SIA_MAX_PIXELS", "6143")
    with pytest.raises(DataError, match=r"96 x 64 px.*--max_pixels 6144"):
        VideoReader(str(source))
    monkeypatch.setenv("SIA_MAX_PIXELS", "6144")
    assert len(list(VideoReader(str(source)))) == 2


@pytest.mark.parametrize(
    "name",
    [
        "data:1.mp4",
        "concat:a.mp4",
        "a.mp4?x",
        "%03d.mp4",
        "rtsp:clip.mp4",
        "-a.mp4",
        "caf\udce9.mp4",
        250 * "n" + ".mp4",
    ],
)
def test_a_file_is_a_file_whatever_its_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = save_video(tmp_path / "plain.mp4", frames=2).read_bytes()
    try:
        Path(name).write_bytes(content)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    assert times_of(Path(name)) == [0, Fraction(1, 25)]


@pytest.mark.parametrize("size", [(2, 400), (400, 2), (1, 1), (3, 17000)])
def test_thin_and_long_frames(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoReader(str(save_video(tmp_path / "a.mp4", frames=2))) as video:
        info = video.info
    with VideoWriter(tmp_path / "copy.mp4", info, size) as writer:
        writer.write(np.zeros((*size, 3), np.uint8), 0, 1)
        writer.finish(complete=True)
    assert len(frame_times(tmp_path / "copy.mp4")) == 1
    assert bool(writer.warnings) == (max(size) > 16384)
