"""Finding and reading pictures for inference, and writing annotated ones."""

from __future__ import annotations

import glob
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from utils.errors import DataError, first_line
from utils.output import write_bytes

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".ppm"})


def find_images(pattern: str) -> list[Path]:
    """The pictures that a path, a folder or a glob names, in natural order (2 before 10).

    A folder gives the pictures directly in it; ``folder/**/*.jpg`` gives those below it as well.

    Raises:
        DataError: nothing there, or no picture in it.
    """
    path = Path(pattern).expanduser()
    if path.is_file():  # before globbing: a file name may have brackets in it
        return [path]
    if path.is_dir():
        return _sorted(_pictures(path.iterdir())) or _nothing(
            f"The folder {path} has no pictures ({', '.join(sorted(SUFFIXES))}) directly in it. "
            f"For those in folders below it, use a glob in quotes: --image_path '{path}/**/*.jpg'."
        )
    if not glob.has_magic(pattern):
        return _nothing(f"No such picture or folder: {path}. Check --image_path.")
    found = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return _sorted(_pictures(found)) or _nothing(f"No picture matches '{pattern}'. Check --image_path.")


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]


def _sorted(paths: list[Path]) -> list[Path]:
    def natural(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return sorted(paths, key=natural)


def _nothing(message: str) -> list[Path]:
    raise DataError(message)


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says, the way every viewer shows it.

    Transparent parts become white, grey and CMYK become RGB, 16 bits become 8.

    Raises:
        DataError: the file is missing, truncated, no picture, or so large that it may be an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken metadata, and sizes below those at which Pillow raises
            with Image.open(path) as opened:
                return np.asarray(_to_rgb(ImageOps.exif_transpose(opened)))
    except Image.DecompressionBombError as error:
        raise DataError(f"The picture {path} has too many pixels: {error}. Scale it down first.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise DataError(f"Can't read the picture {path}: {_reason(error)}. Replace or remove it.") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray: Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission"
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not a picture in a known format, or it is empty"
    return first_line(error).rstrip(".")


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes (H, W, 3) uint8 RGB in the format of the suffix, whole or not at all.

    Raises:
        OutputError: the file can't be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done, f"OpenCV can't encode {path.suffix}"
    write_bytes(path, encoded.tobytes())
