"""What a video says of itself: times, rate, orientation, aspect."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from sia.video.clock import Clock, split
from sia.video.source import is_address

Image = NDArray[np.uint8]

_FASTEST = 240
"""Frames a second beyond which a rate is taken for the ticks of a clock, where another is known."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        source: path or address.
        rate: average frames a second; nominal where frames come at uneven times.
        unit: seconds, in which the file counts its time stamps.
        time_base: seconds, the unit of `Frame.pts`: a whole part of `unit`.
        start: seconds, where the source's own clock stands at the earliest of its streams.
        origin: seconds, which its images have as time stamp at that moment; other than `start` in AVI alone.
        frames: how many frames are promised or estimated, 0 for unknown.
        duration: seconds promised for the images, 0 for unknown.
        pixel_aspect: width of a pixel as shown to its height, after turning.
        orientation: 2x2 of -1, 0, 1 that turns stored pixels upright.
        audio: whether there is sound.
    """

    source: str
    rate: Fraction
    unit: Fraction
    time_base: Fraction
    start: Fraction
    origin: Fraction
    frames: int
    duration: float
    pixel_aspect: Fraction
    orientation: tuple[int, int, int, int]
    audio: bool

    @property
    def remote(self) -> bool:
        """Whether it is from the network: it can't be opened a second time at the same place."""
        return is_address(self.source)

    def clock(self) -> Clock:
        """That of its frames, at its start."""
        return Clock(self.unit, 1 / self.rate, self.origin)


class Frame(NamedTuple):
    """One image of a video.

    Attributes:
        number: 0 for the first.
        pts: when it is shown, in units of `VideoInfo.time_base` since the start of the video; always rising.
        duration: how long it is shown, in the same unit.
        image: (H, W, 3) uint8, RGB, upright.
    """

    number: int
    pts: int
    duration: int
    image: Image


def turn(image: Image, orientation: tuple[int, int, int, int]) -> Image:
    """Turns and mirrors a stored image by whole quarters, as a display matrix says."""
    a, b, c, d = orientation
    if a == 0:  # x and y trade places
        image, (a, d) = image.transpose(1, 0, 2), (c, b)
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def describe(
    source: str, container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame, stamp: int | None
) -> VideoInfo:
    """Reads the headers; touches nothing of the sound but when it starts.

    Args:
        source: path or address.
        container: that is open.
        stream: the images in it.
        first: their first frame.
        stamp: its time stamp, or an estimate; None for unknown.
    """
    rate = _rate(stream, is_avi(container))
    unit = as_fraction(stream.time_base) if stream.time_base and stream.time_base > 0 else 1 / rate
    duration = _duration(stream)
    estimate = duration or (container.duration or 0) / av.time_base
    orientation, aspect = _orientation(first), _aspect(stream)
    start, origin = _start(container, stream, None if stamp is None else stamp * unit)
    return VideoInfo(
        source=source,
        rate=rate,
        unit=unit,
        time_base=unit / split(unit),
        start=start,
        origin=origin,
        frames=stream.frames or round(estimate * float(rate)),
        duration=duration,
        pixel_aspect=1 / aspect if orientation[0] == 0 else aspect,
        orientation=orientation,
        audio=bool(container.streams.audio),
    )


def is_avi(container: av.container.InputContainer) -> bool:
    """AVI counts chunks in the order of decoding, empty ones included, instead of storing times."""
    return container.format.name == "avi"


def frame_stamp(container: av.container.InputContainer, frame: av.VideoFrame) -> int | None:
    """When a frame is shown, in the file's unit: what FFmpeg's own programs take."""
    if is_avi(container):  # pts are guesses there; dts is that of the chunk with which the frame came out
        return frame.dts
    return frame.dts if frame.pts is None else frame.pts


def packet_stamp(container: av.container.InputContainer, packet: av.Packet[av.VideoStream]) -> int | None:
    """When what is in a packet is shown, as far as the file says; in AVI when it is decoded."""
    return packet.dts if is_avi(container) else packet.pts


def as_fraction(ratio: Any) -> Fraction:
    """Python's own fraction: PyAV has one of its own since version 19."""
    return Fraction(ratio.numerator, ratio.denominator)


def _rate(stream: av.VideoStream, avi: bool) -> Fraction:
    """The average; else a guess, which can be absurd (the ticks of the clock) where frames come at uneven times."""
    guesses = [as_fraction(guess) for guess in (stream.guessed_rate, stream.base_rate) if guess]
    sensible = [guess for guess in guesses if 1 <= guess <= _FASTEST]
    if not stream.average_rate or stream.average_rate <= 0:
        return sensible[0] if sensible else Fraction(25)
    average = as_fraction(stream.average_rate)
    if avi or average > _FASTEST:  # counts empty chunks, or ticks
        return min([average, *sensible[:1]])
    return average


def _aspect(stream: av.VideoStream) -> Fraction:
    """Width of a stored pixel to its height; square where the file says what no screen has."""
    aspect = stream.sample_aspect_ratio
    ratio = as_fraction(aspect) if aspect and aspect > 0 else Fraction(1)
    return ratio.limit_denominator(1000) if Fraction(1, 20) <= ratio <= 20 else Fraction(1)


def _start(
    container: av.container.InputContainer, stream: av.VideoStream, first: Fraction | None
) -> tuple[Fraction, Fraction]:
    """The earliest moment, in seconds of the file's clock and of the images' stamps."""
    starts = [start for other in container.streams if (start := _start_of(other)) is not None]
    earliest = max(min(starts, default=Fraction(0)), Fraction(0))  # sound may begin before 0: what its decoder drops
    if first is None:
        return earliest, earliest
    if is_avi(container):
        own = _start_of(stream)
        return earliest, first if own is None else first - (own - earliest)
    return (min(earliest, first),) * 2


def _start_of(stream: av.stream.Stream) -> Fraction | None:
    """Seconds of the file's clock."""
    if stream.start_time is None or not stream.time_base:
        return None
    return stream.start_time * as_fraction(stream.time_base)


def _duration(stream: av.VideoStream) -> float:
    """Seconds of the images, as the stream itself says; the container's would count longer sound."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:01:02.345
    try:
        return float(sum(float(part) * 60.0**power for power, part in enumerate(reversed(parts))))
    except ValueError:
        return 0.0


def _orientation(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix that phones write (9 integers, 16.16 fixed point), rounded to quarter turns."""
    side_data: Any = frame.side_data  # its types differ between versions of PyAV
    if (matrix := side_data.get(Type.DISPLAYMATRIX)) is None:
        return (1, 0, 0, 1)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    straight = abs(a) + abs(d) >= abs(b) + abs(c)
    a, b, c, d = (-1 if value < 0 else 1 for value in (a, b, c, d))
    return (a, 0, 0, d) if straight else (0, b, c, 0)
