"""Where a video comes from: a file or an address. A name that is a file is never read as a protocol of FFmpeg."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sia.errors import DataError
from sia.io.input_file import check_input_file

READERS = ("av", "decord")
"""Decoders for `sia.video.reader.open_reader`."""

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".m2ts", ".3gp", ".flv")
)
_IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"))

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def is_address(source: str) -> bool:
    """``rtsp://...`` and the like, unless there is a file of this name."""
    return bool(_ADDRESS.match(source)) and not os.path.exists(source)  # noqa: PTH110 (it takes names that are too long)


def is_video(source: str) -> bool:
    """Whether this names a video file, or a stream: an address that doesn't end as that of an image."""
    suffix = os.path.splitext(source)[1].lower()  # noqa: PTH122 (an address is no path)
    return suffix in VIDEO_SUFFIXES or (is_address(source) and suffix not in _IMAGE_SUFFIXES)


def for_ffmpeg(source: str | Path) -> str:
    """The name by which FFmpeg opens it: ``data:1.mp4`` and ``%03d.mp4`` are files, too."""
    source = str(source)
    return source if is_address(source) else f"file:{source}"


def check_source(source: str) -> None:
    """Answers at once where nothing can be read.

    Raises:
        DataError: no such file, a folder, a pipe, no permission, or an empty file.
    """
    if is_address(source):
        return
    path = Path(source)
    check_input_file(path, "Check --video_path.")
    if path.stat().st_size == 0:
        raise DataError(f"The video {source} is empty (0 bytes).")
