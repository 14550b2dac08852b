"""Puts the sound of one video beside the images of another, in a process of its own: decoders of sound can crash.

Reads one request (`sia.video.sound.Request` as JSON) from its input and prints a line of JSON for each thing that
happens. Imports nothing heavy but PyAV, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

import av

from sia.video.clock import JUMP
from sia.video.source import for_ffmpeg

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Sound that mp4 holds and players know; everything else is encoded again, as AAC."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_PCM = re.compile(r"pcm_(?:[suf](?P<bits>\d+)(?:le|be)?(?:_planar)?|[am](?:u)?law)")
_TRIED = 3
"""Packets of each track that are tried before it gets a place in the file."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}


class Plan(NamedTuple):
    """How a track is brought: as it is, or decoded and encoded as AAC.

    Attributes:
        copied: as it is.
        channels: what it has; only needed for encoding.
        layout: what its decoder is told they are; "" leaves that to the decoder.
    """

    copied: bool
    channels: int = 2
    layout: str = ""


class Track:
    """One track of sound on its way into an mp4.

    Args:
        source: the track.
        target: an open container.
        plan: what to do with it.
    """

    def __init__(self, source: av.AudioStream, target: av.container.OutputContainer, plan: Plan) -> None:
        self.copied, self.broken, self.empty = plan.copied, False, not plan.copied
        self._target, self._last = target, -(1 << 62)
        if plan.copied:
            self._stream: Any = target.add_stream_from_template(source)
        else:
            if plan.layout:
                source.codec_context.options = {"ch_layout": plan.layout}
            rate = source.codec_context.sample_rate
            self._stream = target.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
            self._stream.codec_context.layout = "mono" if plan.channels == 1 else "stereo"
            self._stream.codec_context.bit_rate = 160_000
        if "language" in source.metadata:
            self._stream.metadata["language"] = source.metadata["language"]

    def write(self, packet: Any, start: Fraction) -> None:
        """Appends a packet; ``start`` seconds become 0."""
        if not self.copied:
            self._encode(packet, start)
            return
        offset = round(start / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        if packet.dts is None or packet.dts <= self._last:
            return
        self._last = packet.dts
        packet.stream = self._stream
        self._target.mux(packet)

    def _encode(self, packet: Any, start: Fraction) -> None:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:  # a broken packet: a moment of silence
            return
        self.empty = self.empty and not frames
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(start / frame.time_base)
            self._target.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        if not self.copied:
            self._target.mux(self._stream.encode(None))


def _pcm_channels(codec: str, rate: int, packet: Any) -> int | None:
    """Counted from the bytes of a packet, since reading a layout can crash."""
    name = _PCM.fullmatch(codec)
    if name is None or not packet.duration:
        return None
    samples = packet.duration * packet.time_base * rate
    channels = packet.size * 8 / int(name["bits"] or 8) / float(samples)
    return round(channels) if channels > 0.5 and abs(channels - round(channels)) < 0.1 else None


def main() -> None:
    """One request."""
    request = json.load(sys.stdin)
    try:
        _merge(request)
    except Exception as error:
        _say(failed=_reason(error))
    sys.stdout.flush()
    os._exit(0)  # without tidying up: damage to the heap would show there


def _merge(request: dict[str, Any]) -> None:
    until = None if request["until"] is None else Fraction(request["until"])
    options = {"movflags": "+faststart", "movie_timescale": str(request["timescale"])}
    with av.open(for_ffmpeg(request["source"])) as source:
        plans = {stream.index: _plan(request, number) for number, stream in enumerate(source.streams.audio)}
        _say(merging=True)
        with (
            av.open(for_ffmpeg(request["images"])) as images,
            av.open(for_ffmpeg(request["target"]), "w", format="mp4", options=options) as target,
        ):
            shown = target.add_stream_from_template(images.streams.video[0])
            streams = [stream for stream in source.streams.audio if plans[stream.index]]
            tracks = {stream.index: Track(stream, target, plan) for stream in streams if (plan := plans[stream.index])}
            sound = _Sound(source, tracks, Fraction(request["start"]))
            for packet in images.demux(images.streams.video[0]):
                if packet.dts is not None:
                    sound.write_until(packet.dts * packet.time_base)
                    packet.stream = shown
                    target.mux(packet)
            sound.write_until(until)
            sound.finish()
    _say(done=True)


def _plan(request: dict[str, Any], number: int) -> Plan | None:
    """How a track can be brought; one that can't be says so."""
    if number in request["without"]:
        return None
    _say(trying=number)
    name = request["source"]
    try:
        if _codec(name, number) in COPIED:
            with contextlib.suppress(av.FFmpegError, ValueError):
                return _attempt(name, number, Plan(copied=True))
        plan = _attempt(name, number, Plan(False, *_channels(name, number)))
        _say(encoded=number)
        return plan
    except Exception as error:
        _say(lost=number, why=_reason(error))
        return None


def _codec(name: str, number: int) -> str:
    with av.open(for_ffmpeg(name)) as source:
        context = source.streams.audio[number].codec_context
        if context is None:
            raise ValueError("there is no decoder for it")
        return context.codec.canonical_name


def _channels(name: str, number: int) -> tuple[int, str]:
    """How many there are; of PCM also a layout to name, since PyAV crashes on those in an order of their own."""
    with av.open(for_ffmpeg(name)) as source:
        stream = source.streams.audio[number]
        packets = list(islice(_packets(source, stream), _TRIED))
        if not packets:
            raise ValueError("it is empty")
        channels = _pcm_channels(stream.codec_context.name, stream.codec_context.sample_rate, packets[0])
        if channels is not None:
            return channels, _LAYOUTS.get(channels, f"{channels} channels")
        for packet in packets:
            with contextlib.suppress(av.error.InvalidDataError):
                for frame in packet.decode():
                    return frame.layout.nb_channels, ""
        return 2, ""


def _attempt(name: str, number: int, plan: Plan) -> Plan:
    """Makes a file of the first packets of one track, in memory; gives the plan back.

    Raises:
        ValueError: it has none.
    """
    with av.open(for_ffmpeg(name)) as source, av.open(io.BytesIO(), "w", format="mp4") as target:
        stream = source.streams.audio[number]
        track, packet = Track(stream, target, plan), None
        for packet in islice(_packets(source, stream), _TRIED):
            track.write(packet, Fraction(0))
        if packet is None:
            raise ValueError("it is empty")
        track.finish()
    return plan


def _packets(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Any]:
    return (packet for packet in source.demux(stream) if packet.size)


class _Sound:
    """All tracks, in the order of the file."""

    def __init__(self, source: av.container.InputContainer, tracks: dict[int, Track], start: Fraction) -> None:
        self._tracks, self._start = tracks, start
        streams = tuple(stream for stream in source.streams.audio if stream.index in tracks)
        self._packets: Iterator[Any] = source.demux(streams) if streams else iter(())
        self._waiting: Any = None
        self._ends = dict.fromkeys(tracks, -(1 << 62))
        self._shifts = dict.fromkeys(tracks, 0)

    def write_until(self, end: Fraction | None) -> None:
        """Writes what starts before ``end`` seconds, or all that is left."""
        while (packet := self._next()) is not None:
            if end is not None and packet.dts is not None and packet.dts * packet.time_base - self._start >= end:
                self._waiting = packet
                return
            self._guarded(self._tracks[packet.stream.index], packet)

    def finish(self) -> None:
        """Writes what the encoders hold."""
        for track in self._tracks.values():
            self._guarded(track, None)
            if track.empty and not track.broken:
                _say(breaks="nothing of it can be decoded")

    def _next(self) -> Any:
        if self._waiting is not None:
            packet, self._waiting = self._waiting, None
            return packet
        try:
            packet = next((packet for packet in self._packets if packet.size), None)
        except (av.FFmpegError, OSError, ValueError) as error:
            _say(breaks=_reason(error))
            return None
        return None if packet is None else self._continued(packet)

    def _continued(self, packet: Any) -> Any:
        """Where stamps jump back, as those of the images do where a recording was restarted, time goes on."""
        if packet.dts is None:
            return packet
        track, unit = packet.stream.index, packet.time_base
        if packet.dts + self._shifts[track] < self._ends[track] - JUMP / unit:
            self._shifts[track] = self._ends[track] - packet.dts
        packet.dts += self._shifts[track]
        packet.pts = None if packet.pts is None else packet.pts + self._shifts[track]
        self._ends[track] = packet.dts + (packet.duration or 0)
        return packet

    def _guarded(self, track: Track, packet: Any) -> None:
        if track.broken:
            return
        try:
            if packet is None:
                track.finish()
            else:
                track.write(packet, self._start)
        except Exception as error:
            if getattr(error, "errno", None) in _DISK:
                raise
            track.broken = True
            _say(breaks=_reason(error))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    main()
