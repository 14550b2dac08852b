from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sia.errors import ConfigError, DataError, OutputError
from sia.video.info import turn
from sia.video.open import open_video
from sia.video.reader import DecordReader, VideoReader
from sia.video.writer import VideoWriter
from tests.inference_helpers import copy_video, files_up_to, frame_times, name_quarters, save_video, sound_packets

UNEVEN = list(itertools.accumulate([0, *np.random.default_rng(0).integers(10, 90, 24).tolist()]))


@pytest.mark.parametrize(
    ("name", "sound", "copied"),
    [
        ("a.mp4", "aac", True),
        ("a.mkv", "ac3", True),
        ("a.mkv", "flac", True),
        ("a.mp4", "libmp3lame", True),
        ("a.mkv", "libopus", True),
        ("a.mkv", "pcm_s16le", False),  # mp4 players don't know it: AAC
        ("a.mp4", None, True),
    ],
)
def test_keeps_times_and_sound(tmp_path: Path, name: str, sound: str | None, copied: bool) -> None:
    source = save_video(tmp_path / name, frames=25, times=UNEVEN, sound=sound)
    copy_video(source, tmp_path / "copy.mp4")
    assert frame_times(tmp_path / "copy.mp4") == frame_times(source)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert len(copy.streams.audio) == (sound is not None)
        video = copy.streams.video[0]
        assert (video.codec.name, video.pix_fmt) == ("h264", "yuv420p")
        assert sound is None or copied or copy.streams.audio[0].codec.name == "aac"
    if sound and copied:
        before, after = sound_packets(source), sound_packets(tmp_path / "copy.mp4")
        assert [data for data, _ in after] == [data for data, _ in before]
        assert max(abs(a - b) for (_, a), (_, b) in zip(after, before, strict=True)) <= Fraction(1, 1000)


def test_a_late_start_becomes_zero_and_lips_stay_in_step(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.ts", frames=10, sound="aac")  # MPEG-TS starts its clock at about 1.4 s
    with av.open(str(source)) as container:
        gap = container.streams.video[0].start_time - container.streams.audio[0].start_time
        gap *= container.streams.video[0].time_base
    copy_video(source, tmp_path / "b.mp4")
    first_image, first_sound = frame_times(tmp_path / "b.mp4")[0], sound_packets(tmp_path / "b.mp4")[0][1]
    assert min(first_image, first_sound) == 0
    assert first_image - first_sound == gap


def test_the_index_is_in_front(tmp_path: Path) -> None:
    copy_video(save_video(tmp_path / "a.mp4", frames=5), tmp_path / "b.mp4")
    content = (tmp_path / "b.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_odd_sizes_become_even_and_colours_stay(tmp_path: Path) -> None:
    reader, _ = copy_video(save_video(tmp_path / "a.mp4", frames=5, size=(63, 97)), tmp_path / "b.mp4")
    assert reader.info.time_base
    with VideoReader(str(tmp_path / "b.mp4")) as again:
        images = [frame.image for frame in again]
    assert images[0].shape == (64, 98, 3)
    assert name_quarters(images[-1]) == "RGBW"
    with VideoReader(str(tmp_path / "a.mp4")) as original:
        before = [frame.image.astype(int) for frame in original]
    assert np.abs(images[-1][:63, :97].astype(int) - before[-1]).mean() < 6


@pytest.mark.parametrize(
    ("rotation", "mirrored", "seen", "size"),
    [
        (0, False, "RGBW", (64, 96)),
        (90, False, "GWRB", (96, 64)),  # counter-clockwise
        (180, False, "WBGR", (64, 96)),
        (-90, False, "BRWG", (96, 64)),
        (0, True, "GRWB", (64, 96)),
    ],
)
@pytest.mark.parametrize("kind", ["av", "decord"])
def test_turned_upright(
    tmp_path: Path, rotation: int, mirrored: bool, seen: str, size: tuple[int, int], kind: str
) -> None:
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV can't write rotated videos")
    if kind == "decord":
        pytest.importorskip("decord")
    source = save_video(tmp_path / "a.mp4", frames=4, rotation=rotation, mirrored=mirrored)
    if mirrored and kind == "decord":
        with pytest.raises(ConfigError, match="mirrored"):
            open_video(str(source), kind)
        return
    with open_video(str(source), kind) as reader:
        frames = list(reader)
    assert frames[-1].image.shape == (*size, 3)
    assert name_quarters(frames[-1].image) == seen


def test_turn_composes_to_identity() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    quarter = (0, 1, -1, 0)
    turned = turn(turn(turn(turn(image, quarter), quarter), quarter), quarter)
    assert (turned == image).all()


def test_decord_gives_the_same_frames_and_times(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    source = str(save_video(tmp_path / "a.mp4", frames=25, times=UNEVEN, noise=20))
    with VideoReader(source) as one, DecordReader(source) as other:
        for ours, theirs in itertools.zip_longest(one, other):
            assert ours.pts == theirs.pts
            assert np.abs(ours.image.astype(int) - theirs.image).mean() < 3  # another colour conversion


def test_a_missing_decord_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    with pytest.raises(ConfigError, match="pip install decord"):
        open_video(str(tmp_path / "a.mp4"), "decord")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "empty"), (b"hello\n" * 100, "not a video"), (b"\x00" * 5000, "not a video")],
)
def test_no_video(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=message):
        VideoReader(str(tmp_path / "a.mp4"))


def test_folders_images_and_sound_are_no_videos(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name, message in ((".", "folder"), ("a.png", "is an image"), ("a.wav", "no video stream")):
        with pytest.raises(DataError, match=message):
            VideoReader(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_cut_off_is_read_up_to_the_break(tmp_path: Path, name: str) -> None:
    options = {"movflags": "+faststart"} if name == "a.mp4" else {}
    whole = save_video(tmp_path / name, frames=50, noise=20, sound="aac", **options)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    reader, _ = copy_video(cut, tmp_path / "b.mp4")
    count = len(frame_times(tmp_path / "b.mp4"))
    assert 15 < count < 45
    assert f"after frame {count - 1} " in reader.warnings[0]


def test_damage_in_the_middle_costs_the_broken_frames_only(tmp_path: Path) -> None:
    content = bytearray(save_video(tmp_path / "a.mp4", frames=50, noise=20, movflags="+faststart").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes((7 * byte + 13) % 256 for byte in content[middle : middle + 3000])
    (tmp_path / "b.mp4").write_bytes(content)
    with VideoReader(str(tmp_path / "b.mp4")) as reader:
        frames = list(reader)
    assert 30 < len(frames) < 51
    assert frames[-1].pts * reader.info.time_base == Fraction(49, 25)
    assert reader.warnings


def test_times_always_rise(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.avi", frames=12)  # AVI has no times, and lists frames in decoding order
    with VideoReader(str(source)) as reader:
        times = [frame.pts for frame in reader]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_frames_come_one_by_one(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.mp4", frames=50)
    with VideoReader(str(source)) as reader:
        assert len(list(itertools.islice(reader, 3))) == 3


def test_stopped_early_the_file_plays_and_the_sound_stops_too(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.mp4", frames=50, sound="aac")
    copy_video(source, tmp_path / "b.mp4", most=20)
    assert frame_times(tmp_path / "b.mp4") == frame_times(source)[:20]
    assert sound_packets(tmp_path / "b.mp4")[-1][1] < 0.8


def test_nothing_is_left_after_an_error_or_without_frames(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.mp4", frames=5)
    out = tmp_path / "out"
    out.mkdir()
    with VideoReader(str(source)) as reader:
        with pytest.raises(RuntimeError), VideoWriter(out / "b.mp4", reader.info, (64, 96)) as writer:
            writer.write(np.zeros((64, 96, 3), np.uint8), 0, 1)
            raise RuntimeError
        with VideoWriter(out / "b.mp4", reader.info, (64, 96)) as writer:
            writer.finish(complete=True)
    assert not list(out.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.mp4", frames=5)
    with VideoReader(str(source)) as reader, pytest.raises(OutputError, match="exists"):
        VideoWriter(source, reader.info, (64, 96))


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_leaves_no_half_video(tmp_path: Path, limit: int) -> None:
    source = save_video(tmp_path / "a.mp4", frames=50, noise=40)
    out = tmp_path / "out"
    out.mkdir()
    with files_up_to(limit), pytest.raises(OutputError, match=r"Can't write .*b\.mp4"):
        copy_video(source, out / "b.mp4")
    assert not list(out.iterdir())
