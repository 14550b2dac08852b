"""Reads one picture file as RGB, the way a viewer shows it, and refuses broken files."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.errors import DataError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a broken file is one DataError, not five lines

_FLAGS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}


def read_image(file: Path, shrink: int = 1) -> NDArray[np.uint8]:
    """Decodes any common format: EXIF orientation applied, grey and CMYK turned to RGB, transparency dropped.

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
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: can't read this image ({error.strerror}).") from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _flags(data, shrink)) if data else None
    if image is None or not _is_complete(data):
        raise DataError(
            f"{file}: this image is truncated or not an image. Replace it, or remove it from the annotations."
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def _flags(data: bytes, shrink: int) -> int:
    """Full size where a shrunken decode would not be exact: other formats, and pictures that EXIF may turn."""
    exact = data[:2] == b"\xff\xd8" and b"Exif" not in data[:4096]
    return int(_FLAGS[shrink] if exact else cv2.IMREAD_COLOR)


def _is_complete(data: bytes) -> bool:
    """Whether the end of the file is there: some decoders fill what is missing with grey and say nothing."""
    if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9":
        return True
    if data[:4] == b"\x89PNG" and b"IEND" in data[-12:]:
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True
