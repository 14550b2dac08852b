"""Reads one picture of a data set as RGB, the way a viewer shows it, and refuses broken files."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.errors import DataError
from utils.images import read_image as read_picture

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a broken file is one DataError, not five lines

_JPEG = b"\xff\xd8"
_XMP_ORIENTATION = b"tiff:Orientation"
_FLAGS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}


def read_image(file: Path, shrink: int = 1) -> NDArray[np.uint8]:
    """Decodes any format as `utils.images.read_image` does for inference; JPEG faster, and smaller where asked.

    Args:
        file: the picture.
        shrink: 1, 2 or 4. Point (x, y) of the picture is at exactly (x, y) / shrink of the result, whose size is
            rounded up or down. JPEG files with shrink > 1 decode several times faster. A request, not an order:
            look at the size of the result.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: the file can't be read or decoded, or is cut off.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(len(_JPEG))
            if data != _JPEG:
                return read_picture(file)
            data += stream.read()
    except OSError as error:
        raise DataError(f"Can't read the picture {file}: {error.strerror}. Replace or remove it.") from error
    if _XMP_ORIENTATION in data:  # OpenCV knows that of EXIF alone
        return read_picture(file)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _flags(data, shrink))
    if image is None:
        return read_picture(file)
    if not _is_complete(data):
        raise DataError(f"Can't read the picture {file}: it is truncated or damaged. Replace or remove it.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def _flags(data: bytes, shrink: int) -> int:
    """Full size where a shrunken decode would not be exact: pictures that EXIF may turn."""
    return int(cv2.IMREAD_COLOR if b"Exif" in data[:4096] else _FLAGS[shrink])


def _is_complete(data: bytes) -> bool:
    """Whether the end of the file is there: the decoder fills what is missing with grey and says nothing."""
    if data[-2:] == b"\xff\xd9":
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True
