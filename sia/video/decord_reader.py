"""Frames by decord, an optional package, with the times that the file itself says."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from sia.errors import ConfigError, DataError
from sia.io.input_file import MAX_PIXELS
from sia.video.info import Frame
from sia.video.reader import VideoReader
from sia.video.source import for_ffmpeg


class DecordReader:
    """The frames of `VideoReader` by decord, which says nothing of damage. Use as a context manager.

    Args:
        source: a path.
        max_pixels: frames with more are refused before they are decoded.

    Raises:
        ConfigError: decord can't be imported, or shows this video wrongly.
        DataError: the video can't be read.
    """

    def __init__(self, source: str, max_pixels: int = MAX_PIXELS) -> None:
        decord = _import_decord()
        with VideoReader(source, max_pixels, threads=False) as probe:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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


def _import_decord() -> Any:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"--reader decord needs the package decord, which can't be imported here ({error}). "
            "Install it (pip install decord; x86-64 Linux and Windows only) or use --reader av."
        ) from error
    return decord
