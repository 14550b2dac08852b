"""Brings the sound of a video along. No fault of a track of sound costs more than the track."""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from sia.errors import reason_of
from sia.video.info import VideoInfo
from sia.video.source import for_ffmpeg

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0
"""Seconds that a track may take, beside as many as the video lasts."""


def add_sound(info: VideoInfo, images: Path, target: Path, until: Fraction | None) -> tuple[bool, list[str]]:
    """Writes a video with the images of one file and the sound of another.

    Everything that decodes sound runs in a process of its own, one a track: PyAV frees unusual channel layouts twice,
    and decoders of rare formats crash on broken files.

    Args:
        info: of the video that has the sound.
        images: an mp4 without sound.
        target: of the new mp4; replaced if it is there.
        until: seconds; sound that begins later is left out. None for all.

    Returns:
        Whether it was written, and what the user should know.
    """
    tracks, warnings, limit = list[Path](), list[str](), "" if until is None else str(until)
    patience = _PATIENCE + (float(until) if until is not None else info.duration)
    try:
        with av.open(for_ffmpeg(info.source)) as source:
            count = len(source.streams.audio)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sound-") as folder:
            for number in range(count):
                path = Path(folder) / f"{number}.mp4"
                said, status = _extract([info.source, number, path, info.start, limit], patience)
                if status == 0:
                    tracks.append(path)
                    warnings += [f"The sound breaks off ({line})." for line in said[:1]]
                else:
                    reason = said[-1] if status == 1 and said else "its decoder crashed"
                    warnings.append(f"Track {number + 1} of the sound is left out: {reason}.")
            if tracks:
                _merge([images, *tracks], target, info.time_base.denominator)
    except (OSError, av.FFmpegError, ValueError) as error:
        return False, [*warnings, f"The sound is left out: {reason_of(error)}."]
    return bool(tracks), warnings


def _extract(words: Sequence[object], patience: float) -> tuple[list[str], int]:
    """What `sia.video.sound_worker` said, and its exit status."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "sia.video.sound_worker", *map(str, words)]
    try:  # in a session of its own: Ctrl-C is for the main process, which ends the video in order
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True, timeout=patience, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"it took longer than {patience:.0f} s"], 1
    return done.stdout.decode(errors="replace").splitlines(), done.returncode


def _merge(paths: Sequence[Path], target: Path, timescale: int) -> None:
    """Puts the first stream of each mp4 into one, packet by packet in the order of time."""
    options = {"movflags": "+faststart", "movie_timescale": str(timescale)}
    with ExitStack() as stack:
        sources = [stack.enter_context(av.open(for_ffmpeg(path))) for path in paths]
        merged = stack.enter_context(av.open(for_ffmpeg(target), "w", format="mp4", options=options))
        streams: list[Any] = [merged.add_stream_from_template(source.streams[0]) for source in sources]
        for stream, source in zip(streams, sources, strict=True):
            stream.metadata.update(language=source.streams[0].metadata.get("language", "und"))
        for _, number, packet in heapq.merge(*map(_timed, range(len(sources)), sources), key=lambda entry: entry[:2]):
            packet.stream = streams[number]
            merged.mux(packet)


def _timed(number: int, source: av.container.InputContainer) -> Iterator[tuple[Fraction, int, Any]]:
    """Packets with the second at which they are decoded, and the number of their source."""
    for packet in source.demux():
        if packet.dts is not None:
            yield packet.dts * packet.time_base, number, packet
