"""What comes from elsewhere: an image by its address or from stdin."""

from __future__ import annotations

import functools
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sia.errors import DataError, first_line
from sia.io.secrets import mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 64 << 20
"""Bytes of an image that is downloaded."""
SECONDS = 30.0
"""That a server may be silent."""
REDIRECTS = 5
"""Most that are followed."""


def is_web_address(source: str) -> bool:
    """Whether it begins with ``http://`` or ``https://``."""
    return source.lower().startswith(("http://", "https://"))


def name_in(address: str) -> str:
    """The last part of an address, as ``photo.jpg`` of ``https://host/photo.jpg?size=2``."""
    return re.split(r"[?#]", address)[0].rpartition("/")[2]


def is_one_image(source: str) -> bool:
    """Whether `read_named` fetches it, which else reads a file."""
    return source == "-" or is_web_address(source)


def _opened(address: str) -> Any:
    """The server's answer; it may send elsewhere `REDIRECTS` times, within the web, and not from https to http.

    Raises:
        OSError: no answer in time, or an error of the server.
        ValueError: no address.
    """
    import http.client  # a tenth of a second, and seldom needed
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = REDIRECTS

        def redirect_request(self, request: Any, file: Any, code: int, reason: str, headers: Any, target: str) -> Any:
            if not is_web_address(target) or (request.type == "https" and not target.lower().startswith("https:")):
                raise OSError(f"it sends to {mask(target)}, which is not followed")
            return super().redirect_request(request, file, code, reason, headers, target)

    request = urllib.request.Request(address, headers={"User-Agent": "sia-pose"})
    try:
        return urllib.request.build_opener(Redirects).open(request, timeout=SECONDS)
    except http.client.HTTPException as error:
        raise OSError(first_line(error)) from error


def content_type(address: str) -> str:
    """What a server says that it has there, such as ``image/jpeg``; empty where it doesn't answer."""
    try:
        with _opened(address) as answer:
            return str(answer.headers.get_content_type())
    except (OSError, ValueError):
        return ""


def download(address: str) -> bytes:
    """The content of an image's address; nothing is kept on the disk.

    Raises:
        DataError: no answer in time, an error of the server, one that is too large, or a redirection that is not
            followed.
    """
    from http.client import HTTPException

    try:
        with _opened(address) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (OSError, ValueError, HTTPException) as error:  # URLError and time-outs are OSErrors
        cause = getattr(error, "reason", None) or error
        reason = getattr(cause, "strerror", None) or first_line(Exception(cause))
        raise DataError(f"Can't download {mask(address)}: {reason}. Check the address, or download it first.") from None
    if len(content) > LARGEST:
        raise DataError(f"{mask(address)} has more than {LARGEST >> 20} MiB. Download it first and give its path.")
    return content


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sia-")  # goes when the process ends


@functools.cache
def stdin_file() -> Path:
    """A temporary file with what comes from stdin, which is read once.

    Raises:
        DataError: nothing comes, or nobody sends anything.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("- reads an image or a video from stdin, but nothing is sent: cat photo.jpg | sia predict -")
    path = Path(_folder().name) / "stdin"
    with path.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    if not path.stat().st_size:
        raise DataError("stdin is empty: what should have sent an image has failed, or has nothing.")
    return path


def read_named(name: str, warn: Callable[[str], None] | None = None) -> NDArray[np.uint8]:
    """The image that a path, an address or ``-`` for stdin names, (H, W, 3) uint8 RGB.

    Args:
        name: of the image.
        warn: is told what of it is not read.

    Raises:
        DataError: it can't be had, or is no image.
    """
    from sia.io.images import read_image

    if name == "-":
        return read_image(stdin_file(), warn=warn, name="stdin")
    if not is_web_address(name):
        return read_image(Path(name), warn=warn)
    content = download(name)
    with tempfile.TemporaryDirectory(prefix="sia-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        return read_image(path, warn=warn, name=mask(name))
