"""Reads videos frame by frame with PyAV: every frame upright, with its own time, at constant memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from sia.errors import ConfigError, DataError, reason_of
from sia.io.input_file import check_input_file, pixel_limit
from sia.io.secrets import mask
from sia.video.clock import StampsAhead
from sia.video.damage import Damage
from sia.video.info import Frame, Image, describe, frame_stamp, is_avi, packet_stamp, turn
from sia.video.source import for_ffmpeg, is_address, is_sent_once

FAULTS = (av.FFmpegError, OSError, ValueError, RuntimeError, MemoryError)
"""What PyAV raises for files that are broken."""

PATIENCE = 15.0
"""Seconds that a server may be silent."""
_WAIT, _PILED = 0.005, 1.0
"""Seconds for which a packet is waited for at least, and after which packets without such a wait have piled up."""
_MARGIN = 1 << 17
"""Pixels that the decoder needs around a frame."""
_PEEK = 512
"""Most packets that are read in advance to find the next time stamp."""
_REORDERED = 8
"""Packets after the first time stamp among which an earlier one may be."""


class VideoReader:
    """Iterates over the frames of a video. Use as a context manager.

    A break in the middle ends the iteration, or costs the broken frames only. What is damaged is in `warnings`, which
    are complete when all frames were read.

    Args:
        source: a path, or an address that FFmpeg can open.
        threads: whether the decoder may work on several frames at a time.

    Attributes:
        live: whether it is a stream without an end.
        in_bursts: whether it comes in segments of several seconds.

    Raises:
        DataError: no such file, not a video, frames that are too large, or nothing in it that can be decoded.
    """

    def __init__(self, source: str, threads: bool = True) -> None:
        self._container, max_pixels, named = _open(source), pixel_limit(), mask(source)
        try:
            self._stream = _video_stream(self._container, source)
            width, height = self._stream.width, self._stream.height
            if width * height > max_pixels:
                raise DataError(
                    f"{named} has frames of {width} x {height} px, more than the {max_pixels:,} pixels that are read. "
                    f"If memory allows it: --max_pixels {width * height}."
                )
            self.in_bursts = self._container.format.name in ("hls", "dash")
            endless = not self._container.duration and (self.in_bursts or self._container.size <= 0)
            self.live = is_address(source) and (endless or is_sent_once(source))
            # Several frames at a time would keep some of them back.
            self._stream.thread_type = "AUTO" if threads and not self.live else "SLICE"
            self._stream.codec_context.options = {"max_pixels": str(2 * max_pixels + _MARGIN)}  # sizes may change
            self.damage = Damage()
            self.packets = self._sized = 0
            self._asked = self._waited = time.monotonic()
            self._packets = self._demux()
            self._read: deque[av.Packet[av.VideoStream]] = deque()
            self._ahead = StampsAhead()
            self._count = 0
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise DataError(f"The video {named} has no frame that can be decoded: it is empty or broken.")
            self.info = describe(source, self._container, self._stream, self._first, self._first_stamp(source))
            self._size = self._first.width, self._first.height
            self.upright(self._first)
        except FAULTS as error:
            self._container.close()
            raise DataError(f"Can't read the video {named}: {reason_of(error)}.") from error
        except BaseException:
            self._container.close()
            raise

    @property
    def warnings(self) -> list[str]:
        """One line for each kind of damage so far."""
        return self.damage.lines(self._count)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoded.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        for number, pts, duration, frame in self.stored():
            yield Frame(number, pts, duration, self.upright(frame))

    def stored(self) -> Iterator[tuple[int, int, int, av.VideoFrame]]:
        """Number, time, duration and what the decoder gave of each frame, of which `upright` makes the image."""
        first = self._first
        assert first is not None, "a video is read once"
        self._first = None
        clock, begin, pts, duration = self.info.clock(), 0, 0, 0
        for number, frame in enumerate(chain([first], self._decoded)):
            pts = clock(*self._stamp(frame))
            duration = clock.ticks(max(frame.duration or 0, 0)) or clock.step
            begin = begin if number else pts
            if frame.is_corrupt:
                self.damage.mark(number)
            self.damage.resize(number, self._size, (frame.width, frame.height))
            yield number, pts, duration, frame
        self._check_end((pts + max(duration, clock.step) - begin) * self.info.time_base)

    def stamps(self) -> list[int | None]:
        """Time stamps of all frames in the order in which they are shown, without decoding; the reader ends with it.

        Raises:
            DataError: a frame has none.
        """
        held = self.packets - len(self._read) - 1  # packets that the decoder took before it gave the first frame
        stamps = [*self._ahead, *(packet_stamp(self._container, p) for p in self._packets if _shows(p))]
        if is_avi(self._container):
            return [*stamps[held:], *[None] * held]
        known = sorted(stamp for stamp in stamps if stamp is not None)
        if len(known) < len(stamps):
            raise DataError(f"{self.info.source} has frames without a time stamp.")
        return [*known]

    def _stamp(self, frame: av.VideoFrame) -> tuple[int | None, tuple[int, int] | None]:
        """The frame's own, or what is known of those after it."""
        stamp = frame_stamp(self._container, frame)
        ahead = None
        if stamp is None and not self.info.remote:
            self._peek()
            ahead = self._ahead.next_known()
        self._ahead.shown(stamp)
        return stamp, ahead

    def _first_stamp(self, source: str) -> int | None:
        """That of the first frame; estimated from the first that is known where there is none."""
        assert self._first is not None
        stamp = frame_stamp(self._container, self._first)
        if stamp is not None or is_address(source):
            return stamp
        self._peek()
        ahead = self._ahead.next_known()
        if ahead is None or not self._stream.time_base:
            return None
        step = round(1 / ((self._stream.average_rate or 25) * self._stream.time_base))
        return max(0, ahead[0] - ahead[1] * step)

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        """Frames in the order of their time; a packet that can't be decoded is left out.

        A break is told with the next packet that is decoded, or at the end, when the decoder has given what it held.
        """
        while packet := self._read.popleft() if self._read else next(self._packets, None):
            try:
                frames = packet.decode()
            except EOFError:  # flushed already, by the empty packet that ends a sound file
                break
            except FAULTS as error:
                self.damage.lose(error)
                continue
            if packet.size:
                self.damage.lost_before(self._count)
            for frame in frames:
                self._count += 1
                yield frame
        self.damage.lost_before(self._count)

    def _demux(self) -> Iterator[av.Packet[av.VideoStream]]:
        try:
            for packet in self._container.demux(self._stream):
                now = time.monotonic()
                self._waited = now if now - self._asked > _WAIT else self._waited
                self._sized += packet.size > 0
                if _shows(packet):
                    self.packets += 1
                    self._ahead.add(packet_stamp(self._container, packet))
                yield packet
                self._asked = time.monotonic()
        except FAULTS as error:
            self.damage.lose(error)

    def _peek(self) -> None:
        """Reads on until a time stamp is known, and a little farther."""
        after = 0
        while after < _REORDERED and len(self._read) < _PEEK:
            packet = next(self._packets, None)
            if packet is None:
                return
            self._read.append(packet)
            after += self._ahead.next_known() is not None

    def hurry(self, frame: av.VideoFrame) -> None:
        """Of a live stream: has the decoder leave out all but key frames while packets are there before it asks.

        It does that when they have piled up, and until a key frame after the first for which it had to wait.

        Args:
            frame: the last that was decoded.
        """
        late = time.monotonic() - self._waited > _PILED
        if late or frame.key_frame:
            self._stream.codec_context.skip_frame = "NONKEY" if late else "DEFAULT"

    def upright(self, frame: av.VideoFrame) -> Image:
        """(H, W, 3) uint8 RGB in the size of the first frame, which a stream may change."""
        width, height = self._size
        stored = frame.to_ndarray(format="rgb24", width=width, height=height)
        return turn(np.asarray(stored, np.uint8), self.info.orientation)

    def _check_end(self, shown: Fraction) -> None:
        """Whether as many seconds were shown as the header promises."""
        promised, tolerance = self.info.duration, max(1.5 / float(self.info.rate), 0.1)
        if promised - float(shown) > tolerance and not self.damage.broken and not self._is_whole():
            self.damage.end_early(self._count - 1, float(shown), promised)

    def _is_whole(self) -> bool:
        """Whether all packets were there: then the last frame is one that stays for long."""
        if not is_avi(self._container) or self.info.remote:  # which has no file to measure
            return 0 < self._stream.frames <= self._sized
        with Path(self.info.source).open("rb") as file:  # its header says how long it is
            head = file.read(8)
            return file.seek(0, 2) >= 8 + int.from_bytes(head[4:8], "little")


class DecordReader:
    """The frames of `VideoReader` by decord, which says nothing of damage. Use as a context manager.

    Arguments and errors are those of `VideoReader`; a ConfigError says that decord can't be imported, or shows this
    video wrongly.
    """

    def __init__(self, source: str) -> None:
        try:
            import decord
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"--reader decord needs the package decord, which can't be imported here ({error}). "
                "Install it (pip install decord; x86-64 Linux and Windows only) or use --reader av."
            ) from error
        with VideoReader(source, threads=False) as probe:
            self.info = probe.info
            self._stamps = probe.stamps()
        a, b, c, d = self.info.orientation
        if a * d - b * c < 0:
            raise ConfigError(f"{source} is stored mirrored, which decord shows wrongly. Use --reader av.")
        try:
            self._video = decord.VideoReader(for_ffmpeg(source), ctx=decord.cpu(0))
            self._first = self._video.next().asnumpy()
        except Exception as error:  # decord has one error class, derived from Exception
            raise DataError(f"decord can't read {source}. Use --reader av.") from error
        if len(self._video) != len(self._stamps):
            raise ConfigError(
                f"decord sees {len(self._video)} frames in {source}, which shows {len(self._stamps)}. Use --reader av."
            )
        self.warnings: list[str] = []

    def __enter__(self) -> DecordReader:
        return self

    def __exit__(self, *_: object) -> None:
        del self._video

    def __iter__(self) -> Iterator[Frame]:
        clock = self.info.clock()
        for number, stamp in enumerate(self._stamps):
            try:
                image = self._video.next().asnumpy() if number else self._first
            except Exception as error:
                self.warnings.append(f"decord stopped after frame {number - 1} ({type(error).__name__}).")
                return
            yield Frame(number, clock(stamp), clock.step, image)  # decord turns them upright itself


def _shows(packet: av.Packet[av.VideoStream]) -> bool:
    return packet.size > 0 and not packet.is_discard


def _open(source: str) -> av.container.InputContainer:
    remote = is_address(source)
    if not remote:
        check_input_file(Path(source), "Check --video_path.")
        if not Path(source).stat().st_size:
            raise DataError(f"The video {source} is empty (0 bytes).")
    try:
        if remote:
            return av.open(source, options={"rtsp_flags": "prefer_tcp"}, timeout=PATIENCE)
        return av.open(for_ffmpeg(source))
    except FAULTS as error:
        hint = "Check the address." if remote else "The file is broken or not a video."
        raise DataError(f"Can't open {mask(source)} as a video: {reason_of(error)}. {hint}") from error


def _video_stream(container: av.container.InputContainer, source: str) -> av.VideoStream:
    covers = [stream.disposition & type(stream.disposition).attached_pic for stream in container.streams.video]
    streams = [stream for stream, is_cover in zip(container.streams.video, covers, strict=True) if not is_cover]
    image = container.format.name.endswith("_pipe") or container.format.name == "image2"
    if image or not streams:
        what = "is an image, not a video" if image else "has no video stream, only sound or data"
        raise DataError(f"{mask(source)} {what}.")
    if getattr(streams[0], "codec_context", None) is None:
        raise DataError(
            f"The video {mask(source)} is in a format that this build of PyAV can't decode. Convert it to H.264."
        )
    return streams[0]
