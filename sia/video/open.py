"""Opens whatever gives frames that follow each other: the one way to videos, streams, cameras and screens."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from sia.errors import ConfigError, DataError, first_line
from sia.io.optional import need
from sia.io.remote import stdin_file
from sia.io.secrets import mask
from sia.video.capture import camera_shots, screen_shots
from sia.video.live import LiveReader, live_info, shots_of
from sia.video.reader import DecordReader, VideoReader
from sia.video.source import READERS, kind_of, number_in

Reader = VideoReader | DecordReader | LiveReader

_FORMAT = "bv*[height<=1080][vcodec^=avc1]/bv*[height<=1080]/b"
"""Of a page's videos: the best up to this height, rather H.264, whose sound isn't needed."""


def open_video(source: str, decoder: str = "av") -> Reader:
    """Opens a source of a kind that `sia.video.source.is_video` knows.

    Those without an end become a `LiveReader`, all others are read whole.

    Args:
        source: as the user named it.
        decoder: one of `sia.video.source.READERS`.

    Raises:
        ConfigError: an unknown decoder, one for files only, a package is missing, or decord shows this video wrongly.
        DataError: the source can't be read.
    """
    kind = kind_of(source)
    if decoder not in READERS:
        raise ConfigError(f"The reader '{decoder}' is none of {', '.join(READERS)}.")
    if decoder == "decord" and kind != "video":
        raise ConfigError("--reader decord reads files only. Use --reader av for a stream.")
    if kind in ("camera", "screen"):
        shots = camera_shots if kind == "camera" else screen_shots
        return LiveReader(live_info(source), partial(shots, number_in(source)))
    path = str(stdin_file()) if source == "-" else source
    if decoder == "decord":
        return DecordReader(path)

    def again() -> VideoReader:
        return VideoReader(address_in(path) if kind == "youtube" else path)

    reader = again()
    if reader.live:
        return LiveReader(live_info(source, reader.info.rate, reader.info.pixel_aspect), shots_of(reader, again))
    return reader


def address_in(page: str) -> str:
    """The video's own address, which is good for some hours, of a page that yt-dlp knows.

    Raises:
        ConfigError: the package yt-dlp is missing.
        DataError: the page has no video, or doesn't give it.
    """
    library: Any = need("yt_dlp", "YouTube")
    logger = logging.getLogger("sia.yt_dlp")
    logger.addHandler(logging.NullHandler())  # what is wrong is said once, here
    logger.propagate = False
    options = {"format": _FORMAT, "noplaylist": True, "quiet": True, "no_warnings": True, "logger": logger}
    try:
        with library.YoutubeDL(options) as downloader:
            found = downloader.extract_info(page, download=False)
    except library.utils.DownloadError as error:
        raise DataError(f"Can't get {mask(page)}: {first_line(error).removeprefix('ERROR: ')}") from error
    if "url" not in found:
        raise DataError(f"{mask(page)} is a list of videos. Give the address of one.")
    return str(found["url"])
