"""An image by its address."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sia.errors import DataError, first_line
from sia.io.secrets import mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 64 << 20
"""Bytes of an image that is downloaded."""
SECONDS = 30.0
"""That a server may be silent."""


def is_web_address(source: str) -> bool:
    """Whether it begins with ``http://`` or ``https://``."""
    return source.lower().startswith(("http://", "https://"))


def download(address: str) -> bytes:
    """The content of an image's address; nothing is kept on the disk.

    Raises:
        DataError: no answer in time, an error of the server, an empty or a truncated answer, or one that is too large.
    """
    import http.client  # a tenth of a second, and seldom needed
    import urllib.request

    try:
        request = urllib.request.Request(address, headers={"User-Agent": "sia-pose"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        reason = getattr(error, "reason", None) or first_line(error)
        raise DataError(f"Can't download {mask(address)}: {reason}. Check the address, or download it first.") from None
    if len(content) > LARGEST:
        raise DataError(f"{mask(address)} has more than {LARGEST >> 20} MiB. Download it first and give its path.")
    return content


def read_address(address: str) -> NDArray[np.uint8]:
    """The image at an address, (H, W, 3) uint8 RGB, as `read_image` reads it from a file.

    Raises:
        DataError: it can't be downloaded, or is no image.
    """
    from sia.io.images import read_image

    content = download(address)
    with tempfile.TemporaryDirectory(prefix="sia-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_image(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), mask(address))) from error
