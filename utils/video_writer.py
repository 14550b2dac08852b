"""Writes H.264 videos that play everywhere, with the times and the sound of the video they come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from utils.errors import OutputError
from utils.output import output_error
from utils.video import Image, VideoInfo

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Sound that mp4 holds and players know; everything else is encoded again, as AAC."""


_BT709 = 1
"""Code of BT.709 for primaries and transfer in ITU-T H.273."""


class SoundCopier:
    """Brings the sound of a video into another container, up to a given time at a time.

    Args:
        info: of the video that has the sound.
        target: an open output container, to which streams are added.
    """

    def __init__(self, info: VideoInfo, target: av.container.OutputContainer) -> None:
        self.warnings: list[str] = []
        self._start = info.start
        self._source = av.open(info.source)
        self._target = target
        self._streams = {stream.index: _SoundStream(stream, target) for stream in self._source.streams.audio}
        self._packets = self._source.demux(tuple(self._source.streams.audio))
        self._waiting: av.Packet[av.AudioStream] | None = None

    def copy_until(self, end: Fraction | None) -> None:
        """Copies what starts before ``end`` seconds, or all that is left."""
        for packet in self._next_packets():
            if end is not None and packet.dts is not None and packet.dts * packet.time_base - self._start >= end:
                self._waiting = packet
                return
            self._streams[packet.stream.index].write(packet, self._start)

    def close(self) -> None:
        """Writes what the encoders still hold."""
        for stream in self._streams.values():
            stream.finish()
        self._source.close()

    def _next_packets(self) -> Iterator[av.Packet[av.AudioStream]]:
        try:
            while packet := self._waiting or next(self._packets, None):
                self._waiting = None
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            self.warnings.append(f"The sound breaks off ({error.strerror}).")


class _SoundStream:
    def __init__(self, source: av.AudioStream, target: av.container.OutputContainer) -> None:
        self._target = target
        self._copied = source.codec.canonical_name in COPIED
        if self._copied:
            self._stream = target.add_stream_from_template(source)
        else:
            rate = source.rate if source.rate in _aac_rates() else 48000
            self._stream = target.add_stream("aac", rate=rate)
            self._stream.codec_context.layout = "mono" if source.channels == 1 else "stereo"
            self._stream.codec_context.bit_rate = 160_000
        if "language" in source.metadata:
            self._stream.metadata["language"] = source.metadata["language"]

    def write(self, packet: av.Packet[av.AudioStream], start: Fraction) -> None:
        if not self._copied:
            with contextlib.suppress(av.error.InvalidDataError):  # a broken packet of sound: a moment of silence
                self._encode(packet.decode(), start)
            return
        offset = round(start / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        packet.stream = self._stream
        self._target.mux(packet)

    def _encode(self, frames: list[av.AudioFrame], start: Fraction) -> None:
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(start / frame.time_base)
            self._target.mux(self._stream.encode(frame))

    def finish(self) -> None:
        if not self._copied:
            self._target.mux(self._stream.encode(None))


def _aac_rates() -> tuple[int, ...]:
    return (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class VideoWriter:
    """Writes an mp4 under a temporary name and renames it when it is complete. Use as a context manager.

    - H.264, yuv420p, BT.709, index at the front: plays in browsers while it loads.
    - Each frame is shown when the source showed it. An odd size is made even by repeating the last row or column.
    - When the block ends early without an error, the file holds what came so far, and plays.

    Args:
        path: of the file; must not exist.
        info: of the source.
        size: height, width of the frames.
        sound: whether to bring the source's sound along.

    Raises:
        OutputError: the file can't be written.
    """

    def __init__(self, path: Path, info: VideoInfo, size: tuple[int, int], sound: bool = True) -> None:
        if path.exists():
            raise OutputError(f"{path} exists already and is not overwritten. Name another --output_dir.")
        self.path = path
        self.warnings: list[str] = []
        self.frames = 0
        self._info = info
        self._durations: dict[int, int] = {}
        self._partial = path.with_name(f".{path.name}.part")
        with self._mended():
            self._container = av.open(str(self._partial), "w", format="mp4", options=self._container_options())
            self._stream = self._add_stream(size)
            self._sound = SoundCopier(info, self._container) if sound and info.audio and not info.live else None

    def _container_options(self) -> dict[str, str]:
        # A late first frame is stored in the movie's own clock, whose milliseconds would round it.
        return {"movflags": "+faststart", "movie_timescale": str(self._info.time_base.denominator)}

    def _add_stream(self, size: tuple[int, int]) -> av.VideoStream:
        options = {"crf": "20", "preset": "fast"}
        stream = self._container.add_stream("libx264", rate=self._info.rate, options=options)
        stream.height, stream.width = (side + side % 2 for side in size)
        context = stream.codec_context
        stream.pix_fmt, context.time_base = "yuv420p", self._info.time_base
        context.sample_aspect_ratio = self._info.pixel_aspect
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = _BT709, _BT709
        return stream

    def write(self, image: Image, pts: int, duration: int) -> None:
        """Appends a frame, and the sound up to it.

        Args:
            image: (H, W, 3) uint8, RGB.
            pts: when it is shown, in the source's time base.
            duration: how long, in the same unit.

        Raises:
            OutputError: the disk is full.
        """
        bottom, right = self._stream.height - image.shape[0], self._stream.width - image.shape[1]
        if bottom or right:
            image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = pts, self._info.time_base
        self._durations[pts] = duration
        with self._mended():
            self._mux(frame)
            self.frames += 1
            if self._sound:
                self._sound.copy_until(pts * self._info.time_base)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            self._container.mux(packet)

    def finish(self, complete: bool) -> None:
        """Ends the file and gives it its name; a file without frames is not kept.

        Args:
            complete: whether the source came to its end, so that sound that goes on longer is kept too.

        Raises:
            OutputError: the disk is full.
        """
        if not self.frames:
            self._discard()
            return
        with self._mended():
            self._mux(None)
            if self._sound:
                if complete:
                    self._sound.copy_until(None)
                self._sound.close()
                self.warnings += self._sound.warnings
            self._container.close()
            self._partial.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.path.exists():
            self._discard()

    @contextlib.contextmanager
    def _mended(self) -> Iterator[None]:
        """Turns what the disk refuses into an OutputError, and takes the unfinished file away."""
        try:
            yield
        except OSError as error:
            self._discard()
            raise output_error(error, self.path) from error
        except av.FFmpegError as error:
            self._discard()
            raise OutputError(f"Can't encode {self.path}: {error.strerror}.") from error

    def _discard(self) -> None:
        with contextlib.suppress(OSError, av.FFmpegError, AttributeError):
            self._container.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
