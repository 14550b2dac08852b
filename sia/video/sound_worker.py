"""Takes one track of sound out of a video, in a process of its own: decoders of sound can crash.

``python -m sia.video.sound_worker SOURCE TRACK TARGET START UNTIL`` makes an mp4 in which second START of the source is
0. What is printed with exit status 0 is why the sound ends early; with 1, why there is none. Imports nothing heavy but
PyAV, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av

from sia.errors import reason_of
from sia.video.clock import JUMP
from sia.video.source import for_ffmpeg

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Sound that mp4 holds and players know; everything else is encoded again, as AAC."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_PCM = re.compile(r"pcm_(?:[suf](?P<bits>\d+)(?:le|be)?(?:_planar)?|[am](?:u)?law)")
_TRIED = 3
"""Packets of a track that mp4 has to take before it is believed that it takes all."""


def main() -> None:
    """One track."""
    source, number, target, start, until = sys.argv[1:]
    end, status = Fraction(until) if until else None, 0
    try:
        extract(source, int(number), target, Fraction(start), end)
    except Exception as error:
        print(reason_of(error))
        status = 1
    sys.stdout.flush()
    os._exit(status)  # without tidying up: damage to the heap would show there


def extract(name: str, number: int, target: str, start: Fraction, until: Fraction | None) -> None:
    """Copies a track where players know it and mp4 takes it, else encodes it.

    Raises:
        Exception: whatever PyAV raises of a track that can be neither copied nor decoded.
    """
    with av.open(for_ffmpeg(name)) as source:
        context = source.streams.audio[number].codec_context
        if context is None:
            raise ValueError("there is no decoder for it")
        is_known = context.codec.canonical_name in COPIED
    if is_known:
        with contextlib.suppress(av.FFmpegError, ValueError):
            return _write(_copied, name, number, target, start, until)
    return _write(_encoded, name, number, target, start, until)


def _write(
    way: Callable[..., Iterator[Any]], name: str, number: int, target: str, start: Fraction, until: Fraction | None
) -> None:
    """The mp4, up to the first fault; one at the very beginning is raised."""
    with av.open(for_ffmpeg(name)) as source:
        stream, written = source.streams.audio[number], 0
        options = {"movie_timescale": str(stream.codec_context.sample_rate or 48000)}
        with av.open(for_ffmpeg(target), "w", format="mp4", options=options) as made:
            try:
                for packet in way(stream, made, _packets(source, stream, start, until), start):
                    made.mux(packet)
                    written += 1
            except Exception as error:
                if written < _TRIED:
                    raise
                print(reason_of(error))
        if not written:
            raise ValueError("it is empty")


def _packets(
    source: av.container.InputContainer, stream: av.AudioStream, start: Fraction, until: Fraction | None
) -> Iterator[Any]:
    """Those up to ``until``; where stamps jump back, as in a recording that was restarted, time goes on."""
    end, shift = -(1 << 62), 0
    try:
        for packet in source.demux(stream):
            if packet.dts is not None and packet.size:
                if packet.dts + shift < end - JUMP / packet.time_base:
                    shift = end - packet.dts
                packet.dts += shift
                packet.pts = None if packet.pts is None else packet.pts + shift
                end = packet.dts + (packet.duration or 0)
                if until is not None and packet.dts * packet.time_base - start >= until:
                    return
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError, ValueError) as error:
        print(reason_of(error))


def _copied(
    stream: av.AudioStream, target: av.container.OutputContainer, packets: Iterable[Any], start: Fraction
) -> Iterator[Any]:
    made, last = target.add_stream_from_template(stream), -(1 << 62)
    _name_language(stream, made)
    for packet in packets:
        offset = round(start / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        if packet.dts is not None and packet.dts > last:
            last, packet.stream = packet.dts, made
            yield packet


def _encoded(
    stream: av.AudioStream, target: av.container.OutputContainer, packets: Iterable[Any], start: Fraction
) -> Iterator[Any]:
    context, made = stream.codec_context, None
    first = next(iter(packets), None)
    if first is not None and (channels := _pcm_channels(context.name, context.sample_rate, first)):
        # PyAV crashes on layouts in an order of their own
        context.options = {"ch_layout": _LAYOUTS.get(channels, f"{channels} channels")}
    for packet in chain([] if first is None else [first], packets):
        with contextlib.suppress(av.error.InvalidDataError):  # a broken packet: a moment of silence
            for frame in packet.decode():
                made = made or _aac(stream, target, frame.layout.nb_channels)
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(start / frame.time_base)
                yield from made.encode(frame)
    if made is not None:
        yield from made.encode(None)
    elif first is not None:
        raise ValueError("nothing of it can be decoded")


def _aac(stream: av.AudioStream, target: av.container.OutputContainer, channels: int) -> Any:
    rate = stream.codec_context.sample_rate
    made: Any = target.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
    made.codec_context.layout = "mono" if channels == 1 else "stereo"
    made.codec_context.bit_rate = 160_000
    _name_language(stream, made)
    return made


def _name_language(stream: av.AudioStream, made: Any) -> None:
    if "language" in stream.metadata:
        made.metadata["language"] = stream.metadata["language"]


def _pcm_channels(codec: str, rate: int, packet: Any) -> int | None:
    """Counted from the bytes of a packet, since reading a layout can crash."""
    name = _PCM.fullmatch(codec)
    if name is None or not packet.duration:
        return None
    samples = packet.duration * packet.time_base * rate
    channels = packet.size * 8 / int(name["bits"] or 8) / float(samples)
    return round(channels) if channels > 0.5 and abs(channels - round(channels)) < 0.1 else None


if __name__ == "__main__":
    main()
