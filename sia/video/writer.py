"""Writes H.264 videos that play everywhere, with the times and the sound of the video they come from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from sia.errors import OutputError
from sia.io.output_file import output_error
from sia.video.info import Image, VideoInfo
from sia.video.sound import add_sound
from sia.video.source import for_ffmpeg

_BT709 = 1
"""Code of BT.709 for primaries and transfer in ITU-T H.273."""
_LONGEST = 16_384
"""Pixels of a side that the encoder takes at most."""
_LARGEST = 139_264 * 256
"""Pixels of a frame at H.264's highest level, 6.2."""


def _encoder_options(size: tuple[int, int]) -> dict[str, str]:
    """A frame that x264 holds takes 5 bytes a pixel, and it holds one for each thread and each that it looks ahead."""
    megapixels = size[0] * size[1] / 1e6
    ahead, threads = (10, 8) if megapixels < 4 else (3, 3) if megapixels < 16 else (0, 1)
    held = {"rc-lookahead": str(ahead), "sync-lookahead": "0", "bframes": str(min(ahead, 3)), "ref": "2"}
    return {"crf": "20", "preset": "fast", "threads": str(min(threads, os.cpu_count() or 1)), **held}


class VideoWriter:
    """Writes an mp4 under a temporary name and renames it when it is complete. Use as a context manager.

    - H.264, yuv420p, BT.709, index at the front: plays in browsers while it loads.
    - Each frame is shown when the source showed it. An odd size is made even by repeating the last row or column, one
      that H.264 can't have is made smaller.
    - The images are written first. The sound comes to them at the end, and what is wrong with it costs nothing else.
    - When the block ends early without an error, the file holds what came so far, and plays.

    Args:
        path: of the file; must not exist.
        info: of the source.
        size: height, width of the frames.

    Raises:
        OutputError: the file can't be written.
    """

    def __init__(self, path: Path, info: VideoInfo, size: tuple[int, int]) -> None:
        if path.exists():
            raise OutputError(f"{path} exists already and is not overwritten. Name another --output_dir.")
        self.path = path
        self.warnings: list[str] = []
        self.frames = 0
        self._info = info
        self._durations: dict[int, int] = {}
        self._end = 0
        self._sound = info.audio and not info.remote
        self._partial = path.with_name(f".{path.name}.part")
        self._with_sound = path.with_name(f".{path.name}.sound.part")
        self._size = self._fitting(size)
        # A late first frame is stored in the movie's own clock, whose milliseconds would round it.
        options = {"movflags": "+faststart", "movie_timescale": str(info.time_base.denominator)}
        with self._mended():
            self._container = av.open(for_ffmpeg(self._partial), "w", format="mp4", options=options)
            self._stream = self._add_stream()

    def _fitting(self, size: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, _LONGEST / max(size), (_LARGEST / (size[0] * size[1])) ** 0.5)
        height, width = (max(1, int(side * scale)) for side in size)
        if scale < 1:
            self.warnings.append(f"{self.path.name} is made smaller, {width} x {height} px, since H.264 has a limit.")
        return height, width

    def _add_stream(self) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._info.rate, options=_encoder_options(self._size))
        stream.height, stream.width = (side + side % 2 for side in self._size)
        context = stream.codec_context
        stream.pix_fmt, context.time_base = "yuv420p", self._info.time_base
        context.sample_aspect_ratio = self._info.pixel_aspect
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = _BT709, _BT709
        return stream

    def write(self, image: Image, pts: int, duration: int) -> None:
        """Appends a frame.

        Args:
            image: (H, W, 3) uint8, RGB.
            pts: when it is shown, in the source's time base.
            duration: how long, in the same unit.

        Raises:
            OutputError: the disk is full.
        """
        if image.shape[:2] != self._size:
            image = np.asarray(cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
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
        self._end = pts

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
            self._container.close()
            if self._sound:
                until = None if complete else self._end * self._info.time_base
                done, warnings = add_sound(self._info, self._partial, self._with_sound, until)
                self.warnings += warnings
                if done:
                    self._with_sound.replace(self._partial)
                self._with_sound.unlink(missing_ok=True)
            self._partial.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
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
            self._with_sound.unlink(missing_ok=True)
