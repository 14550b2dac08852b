"""Reads videos frame by frame with PyAV: every frame upright, with its own time, at constant memory."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import av
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from utils.errors import ConfigError, DataError

Image = NDArray[np.uint8]

READERS = ("av", "decord")


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        source: path or address.
        rate: average frames a second; nominal where frames come at uneven times.
        time_base: seconds, the unit of `Frame.pts`.
        start: seconds, where the source's own clock stands at the earliest of its streams.
        frames: how many frames are promised or estimated, 0 for unknown.
        duration: seconds promised for the pictures, 0 for unknown.
        pixel_aspect: width of a pixel as shown to its height, after turning.
        orientation: 2x2 of -1, 0, 1 that turns stored pixels upright.
        audio: whether there is sound.
    """

    source: str
    rate: Fraction
    time_base: Fraction
    start: Fraction
    frames: int
    duration: float
    pixel_aspect: Fraction
    orientation: tuple[int, int, int, int]
    audio: bool

    @property
    def live(self) -> bool:
        """Whether it is a stream from the network: it can't be opened a second time at the same place."""
        return is_address(self.source)


class Frame(NamedTuple):
    """One picture of a video.

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


def is_address(source: str) -> bool:
    """``rtsp://...`` and the like."""
    return "://" in source


class VideoReader:
    """Iterates over the frames of a video. Use as a context manager.

    A break in the middle ends the iteration, or costs the broken frames only, and leaves a line in `warnings`.

    Args:
        source: a path, or an address that FFmpeg can open.

    Raises:
        DataError: no such file, not a video, or nothing in it that can be decoded.
    """

    def __init__(self, source: str) -> None:
        self._container = _open(source)
        self._stream = _video_stream(self._container, source)
        self._stream.thread_type = "AUTO"
        self._count = 0
        self._break: Exception | None = None
        self._decoded = self._decode()
        self.warnings: list[str] = []
        try:
            self._first = next(self._decoded, None)
            if self._first is None:
                raise DataError(f"The video {source} has no frame that can be decoded: it is empty or broken.")
            self.info = _describe(source, self._container, self._stream, self._first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._decoded.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        first, clock = self._first, _Clock(self.info, steady=self._container.format.name == "avi")
        assert first is not None, "a video is read once"
        self._first = None
        number, pts = 0, 0
        for number, frame in enumerate(chain([first], self._decoded)):
            pts = clock(frame.pts)
            yield Frame(number, pts, frame.duration or clock.step, self._upright(frame, first))
        self._check_end(number, pts * self.info.time_base)

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        """Frames in the order of their time; a packet that can't be decoded is left out.

        A break is told with the next packet that is decoded, or at the end, when the decoder has given what it held.
        """
        for packet in chain(self._packets(), [None]):
            try:
                frames = self._stream.codec_context.decode(None) if packet is None else packet.decode()
            except EOFError:  # flushed already, by the empty packet that ends a sound file
                break
            except av.FFmpegError as error:
                self._break = self._break or error
                continue
            if packet is not None and packet.size:
                self._warn_if_broken()
            for frame in frames:
                self._count += 1
                yield frame
        self._warn_if_broken()

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError as error:
            self._break = self._break or error

    def _warn_if_broken(self) -> None:
        if self._break is not None and not self.warnings:
            reason = getattr(self._break, "strerror", None) or str(self._break)
            self.warnings.append(f"The video is broken after frame {self._count - 1} ({reason}).")

    def _upright(self, frame: av.VideoFrame, first: av.VideoFrame) -> Image:
        # A stream may change its size; all frames get that of the first.
        stored = frame.to_ndarray(format="rgb24", width=first.width, height=first.height)
        return turn(np.asarray(stored, np.uint8), self.info.orientation)

    def _check_end(self, last: int, last_time: Fraction) -> None:
        missing = self.info.duration - float(last_time) - float(1 / self.info.rate)
        tolerance = max(1.5 / float(self.info.rate), 0.1)
        if self.info.duration and missing > tolerance and not self.warnings:
            self.warnings.append(
                f"The video breaks off after frame {last} at {float(last_time):.2f} s, "
                f"but its header promises {self.info.duration:.2f} s."
            )


class _Clock:
    """Time stamps as the source has them, from 0 on, always rising."""

    def __init__(self, info: VideoInfo, steady: bool) -> None:
        self._offset = round(info.start / info.time_base)
        self.step = max(1, round(1 / (info.rate * info.time_base)))
        self._steady = steady  # AVI stores an order of decoding instead of times
        self._last: int | None = None

    def __call__(self, pts: int | None) -> int:
        following = 0 if self._last is None else self._last + self.step
        value = following if pts is None or self._steady else pts - self._offset
        if self._last is not None and value <= self._last:
            value = following
        self._last = value
        return value


class DecordReader:
    """The same frames by decord, an optional package. Use as a context manager.

    Args:
        source: a path.

    Raises:
        ConfigError: decord can't be imported, or shows this video wrongly.
        DataError: the video can't be read.
    """

    def __init__(self, source: str) -> None:
        decord = _import_decord()
        with VideoReader(source) as probe:
            self.info = probe.info
        a, b, c, d = self.info.orientation
        if a * d - b * c < 0:
            raise ConfigError(f"{source} is stored mirrored, which decord shows wrongly. Use --reader av.")
        try:
            self._video = decord.VideoReader(source, ctx=decord.cpu(0))
        except Exception as error:  # decord has one error class, derived from Exception
            raise DataError(f"decord can't read {source}. Use --reader av.") from error
        self.warnings: list[str] = []

    def __enter__(self) -> DecordReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self._video

    def __iter__(self) -> Iterator[Frame]:
        clock = _Clock(self.info, steady=False)
        for number in range(len(self._video)):
            try:
                image = self._video.next().asnumpy()
            except Exception as error:
                self.warnings.append(f"decord stopped after frame {number - 1} ({type(error).__name__}).")
                return
            begin = Fraction(float(self._video.get_frame_timestamp(number)[0])).limit_denominator(1_000_000)
            pts = clock(round(begin / self.info.time_base))
            yield Frame(number, pts, clock.step, image)  # decord turns them upright itself


def open_reader(source: str, kind: str = "av") -> VideoReader | DecordReader:
    """Opens a video with one of `READERS`.

    Raises:
        ConfigError: decord can't be imported.
        DataError: the video can't be read.
    """
    return DecordReader(source) if kind == "decord" else VideoReader(source)


def _import_decord() -> Any:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"--reader decord needs the package decord, which can't be imported here ({error}). "
            "Install it (pip install decord; x86-64 Linux and Windows only) or use --reader av."
        ) from error
    return decord


def turn(image: Image, orientation: tuple[int, int, int, int]) -> Image:
    """Turns and mirrors a stored picture by whole quarters, as a display matrix says."""
    a, b, c, d = orientation
    if a == 0:  # x and y trade places
        image, (a, d) = image.transpose(1, 0, 2), (c, b)
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _open(source: str) -> av.container.InputContainer:
    if not is_address(source):
        path = Path(source)
        if not path.exists():
            raise DataError(f"No such video: {source}. Check --video_path.")
        if path.is_dir():
            raise DataError(f"{source} is a folder. Give one video; for pictures use inference_image_pose.py.")
        if path.stat().st_size == 0:
            raise DataError(f"The video {source} is empty (0 bytes).")
    try:
        return av.open(source)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"Can't open {source} as a video: {reason}. The file is broken or not a video.") from error


def _video_stream(container: av.container.InputContainer, source: str) -> av.VideoStream:
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    picture = container.format.name.endswith("_pipe") or container.format.name == "image2"
    if picture or not streams:
        container.close()
        what = "is a picture: use inference_image_pose.py" if picture else "has no video stream, only sound or data"
        raise DataError(f"{source} {what}.")
    if getattr(streams[0], "codec_context", None) is None:
        container.close()
        raise DataError(f"The video {source} is in a format that this build of PyAV can't decode. Convert it to H.264.")
    return streams[0]


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _describe(
    source: str, container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame
) -> VideoInfo:
    rate = _rate(stream)
    time_base = as_fraction(stream.time_base) if stream.time_base else 1 / rate
    duration = _duration(stream)
    estimate = duration or (container.duration or 0) / av.time_base
    orientation = _orientation(first)
    aspect = as_fraction(stream.sample_aspect_ratio or 1)
    return VideoInfo(
        source=source,
        rate=rate,
        time_base=time_base,
        start=_start(container, stream, first),
        frames=stream.frames or round(estimate * float(rate)),
        duration=duration,
        pixel_aspect=1 / aspect if orientation[0] == 0 else aspect,
        orientation=orientation,
        audio=bool(container.streams.audio),
    )


class _Ratio(Protocol):
    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int: ...


def as_fraction(ratio: _Ratio) -> Fraction:
    """Python's own fraction: PyAV has one of its own since version 19."""
    return Fraction(ratio.numerator, ratio.denominator)


def _rate(stream: av.VideoStream) -> Fraction:
    """The average; else a guess, which can be absurd (the ticks of the clock) where frames come at uneven times."""
    if stream.average_rate:
        return as_fraction(stream.average_rate)
    guesses = [as_fraction(guess) for guess in (stream.guessed_rate, stream.base_rate) if guess]
    return next((guess for guess in guesses if 1 <= guess <= 240), Fraction(25))


def _start(container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame) -> Fraction:
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    earliest = max(Fraction(min(starts, default=0)), Fraction(0))  # sound may begin before 0: what its decoder drops
    if first.pts is None or not stream.time_base:
        return earliest
    return min(earliest, first.pts * stream.time_base)


def _duration(stream: av.VideoStream) -> float:
    """Seconds of the pictures, as the stream itself says; the container's would count longer sound."""
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
    matrix = side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return (1, 0, 0, 1)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    straight = abs(a) + abs(d) >= abs(b) + abs(c)
    return (_sign(a), 0, 0, _sign(d)) if straight else (0, _sign(b), _sign(c), 0)


def _sign(value: int) -> int:
    return -1 if value < 0 else 1
