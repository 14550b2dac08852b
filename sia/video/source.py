"""What a SOURCE is: the door through which the commands and the API go. A name that is a file is one."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Literal

from sia.io.remote import content_type, is_web_address, name_in, stdin_file

READERS = ("av", "decord")
"""Decoders of video files."""

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".m2ts", ".3gp", ".flv")
)
_IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"))
_STREAM_SUFFIXES = frozenset((*VIDEO_SUFFIXES, ".m3u8", ".mpd", ".mjpg", ".mjpeg", ".h264"))

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_LIVE = re.compile(r"(?:rtsps?|rtmp\w*|rtp|srt|udp|tcp)://", re.IGNORECASE)
_CAMERA = re.compile(r"(?:/dev/video)?(\d{1,3})")
_SCREEN = re.compile(r"screen(?::(\d{1,2}))?")
_YOUTUBE = re.compile(r"https?://(?:(?:www|m|music)\.)?(?:youtube\.com|youtu\.be)/", re.IGNORECASE)
_VIDEO_START = re.compile(
    rb"\x1aE\xdf\xa3|RIFF....AVI |FLV|0&\xb2u|\x00\x00\x01\xba|G.{187}G"
    rb"|....(?:ftyp(?!hei|hev|avi|mif|msf)|moov|mdat|wide|free)",
    re.DOTALL,
)
"""How files begin that hold videos: Matroska, AVI, FLV, WMV, MPEG, MP4 and MOV."""

Kind = Literal["images", "stdin", "address", "video", "stream", "youtube", "camera", "screen"]


def kind_of(source: str) -> Kind:
    """What is meant.

    - ``images``: a file, a folder, or a glob; ``address``: one image on the web; ``stdin``: its bytes.
    - ``video``: a file, or stdin; ``stream``: an address for FFmpeg, with or without an end; ``youtube``: a page.
    - ``camera``: ``0`` or ``/dev/video0``; ``screen``: ``screen`` or ``screen:1``.

    Raises:
        DataError: stdin has nothing.
    """
    if source == "-":
        with stdin_file().open("rb") as stream:
            return "video" if _VIDEO_START.match(stream.read(256)) else "stdin"
    if _CAMERA.fullmatch(source) and (source.startswith("/dev/") or not os.path.exists(source)):  # noqa: PTH110
        return "camera"
    if is_address(source):
        return _kind_of_address(source)
    if _SCREEN.fullmatch(source) and not os.path.exists(source):  # noqa: PTH110
        return "screen"
    return "video" if os.path.splitext(source)[1].lower() in VIDEO_SUFFIXES else "images"  # noqa: PTH122 (as it is typed)


@functools.lru_cache(maxsize=64)
def _kind_of_address(source: str) -> Kind:
    """By its ending; one of the web without a known ending is asked what it has."""
    if _YOUTUBE.match(source):
        return "youtube"
    suffix = os.path.splitext(name_in(source))[1].lower()  # noqa: PTH122 (an address is no path)
    if is_web_address(source) and suffix not in _STREAM_SUFFIXES:
        return "address" if suffix in _IMAGE_SUFFIXES or content_type(source).startswith("image/") else "stream"
    return "stream"


def is_address(source: str) -> bool:
    """``rtsp://...`` and the like, unless there is a file of this name."""
    return bool(_ADDRESS.match(source)) and not os.path.exists(source)  # noqa: PTH110 (it takes names that are too long)


def is_video(source: str) -> bool:
    """Whether this gives frames that follow each other; images otherwise."""
    return kind_of(source) not in ("images", "stdin", "address")


def is_sent_once(source: str) -> bool:
    """Whether its protocol is one in which a sender waits for nobody."""
    return bool(_LIVE.match(source))


def number_in(source: str) -> int:
    """That of a camera, or of a screen: ``screen`` is ``screen:1``, and ``screen:0`` all of them side by side."""
    found = _CAMERA.fullmatch(source) or _SCREEN.fullmatch(source)
    return int(found[1] or 1) if found else 0


def for_ffmpeg(source: str | Path) -> str:
    """The name by which FFmpeg opens it: ``data:1.mp4`` and ``%03d.mp4`` are files, too."""
    source = str(source)
    return source if is_address(source) else f"file:{source}"
