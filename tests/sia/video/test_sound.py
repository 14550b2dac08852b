"""Any fault of any track of sound costs the sound, never frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from sia.video import sound
from tests.inference_helpers import copy_video, frame_times, save_video, sound_packets


def warnings_of(source: Path, target: Path) -> list[str]:
    _, writer = copy_video(source, target)
    assert len(frame_times(target)) == len(frame_times(source))
    assert {path.name for path in target.parent.iterdir()} == {source.name, target.name}
    return writer.warnings


def seconds_of_sound(path: Path) -> list[tuple[str, float]]:
    with av.open(str(path)) as container:
        return [(s.codec.name, round(float(s.duration * s.time_base), 1)) for s in container.streams.audio]


@pytest.mark.parametrize("channels", ["6.1", "7.1"])
def test_layouts_of_their_own_order_that_crash_pyav(tmp_path: Path, channels: str) -> None:
    source = save_video(tmp_path / "a.mov", frames=10, sound="pcm_s16le", layout=channels)
    content = bytearray(source.read_bytes())
    at = content.index(b"chan") + 8
    tag = {"6.1": 0x00_7D_00_07, "7.1": 0x00_80_00_08}[channels]  # MPEG_6_1_A, MPEG_7_1_C of Core Audio
    content[at : at + 8] = tag.to_bytes(4, "big") + bytes(4)
    source.write_bytes(content)
    assert warnings_of(source, tmp_path / "b.mp4") == []
    assert seconds_of_sound(tmp_path / "b.mp4") == [("aac", 0.4)]


@pytest.mark.parametrize(
    ("name", "codec", "layout", "rate"),
    [
        ("a.avi", "pcm_u8", "mono", 11025),
        ("a.mkv", "pcm_f32le", "5.1", 44100),
        ("a.mov", "pcm_s24be", "quad", 48000),
        ("a.avi", "adpcm_ms", "stereo", 44100),
        ("a.mkv", "wavpack", "7.1", 48000),
        ("a.mov", "alac", "7.1(wide)", 48000),
        ("a.mkv", "mp2", "mono", 32000),
    ],
)
def test_kinds_of_sound(tmp_path: Path, name: str, codec: str, layout: str, rate: int) -> None:
    source = save_video(tmp_path / name, frames=10, sound=codec, layout=layout, rate=rate)
    assert warnings_of(source, tmp_path / "b.mp4") == []
    ((made, seconds),) = seconds_of_sound(tmp_path / "b.mp4")
    assert made == ("alac" if codec == "alac" else "aac")
    assert seconds == pytest.approx(0.4, abs=0.11)


def test_a_track_without_a_decoder_is_left_out_and_the_other_stays(tmp_path: Path) -> None:
    source = save_video(tmp_path / "a.mkv", frames=10, sound="pcm_s16le", tracks=2)
    source.write_bytes(source.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT", 1))
    (warning,) = warnings_of(source, tmp_path / "b.mp4")
    assert warning == "Track 1 of the sound is left out: there is no decoder for it."
    assert seconds_of_sound(tmp_path / "b.mp4") == [("aac", 0.4)]


def test_sound_of_a_recording_that_was_restarted_goes_on(tmp_path: Path) -> None:
    part = save_video(tmp_path / "part.ts", frames=25, sound="aac").read_bytes()
    (tmp_path / "part.ts").unlink()
    (tmp_path / "a.ts").write_bytes(part + part)
    copy_video(tmp_path / "a.ts", tmp_path / "b.mp4")
    assert float(sound_packets(tmp_path / "b.mp4")[-1][1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("said", "status", "kept", "warning"),
    [
        ([], -11, False, "Track 1 of the sound is left out: its decoder crashed."),
        (["no idea"], 1, False, "Track 1 of the sound is left out: no idea."),
        (["Input/output error"], 0, True, "The sound breaks off (Input/output error)."),
    ],
)
def test_after_a_crash_the_others_are_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], status: int, kept: bool, warning: str
) -> None:
    extract = sound._extract

    def first_fails(words: Sequence[object], patience: float) -> tuple[list[str], int]:
        real = extract(words, patience)
        return (said, status) if words[1] == 0 else real

    monkeypatch.setattr(sound, "_extract", first_fails)
    source = save_video(tmp_path / "a.mp4", frames=10, sound="aac", tracks=2)
    assert warnings_of(source, tmp_path / "b.mp4") == [warning]
    assert len(seconds_of_sound(tmp_path / "b.mp4")) == 1 + kept


def test_sound_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_video(tmp_path / "a.mp4", frames=2, sound="aac")
    monkeypatch.setattr(sound, "_PATIENCE", -0.05)
    (warning,) = warnings_of(source, tmp_path / "b.mp4")
    assert "it took longer" in warning
    assert seconds_of_sound(tmp_path / "b.mp4") == []
