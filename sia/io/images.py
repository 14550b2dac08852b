"""The one reader of images, for training, evaluation, validation and inference alike, and the writer."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from sia.errors import ConfigError, DataError, OutputError, first_line, warn
from sia.io.input_file import check_input_file, pixel_limit
from sia.io.optional import need
from sia.io.output_file import write_bytes

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a broken file is one DataError, not five lines
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `open_image` sets the limit itself
warnings.filterwarnings("ignore", module=r"PIL\.")  # broken metadata

Pixels = NDArray[np.uint8]
Warn = Callable[[str], None]
_warn_once: Warn = functools.cache(warn)

_JPEG = b"\xff\xd8"
_REDUCED = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_ORIENTATION, _BITS, _SAMPLE_FORMAT = 0x0112, 0x0102, 0x0153
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Largest values of 8, 10, 12, 14 and 16 bits: cameras and scanners store fewer bits than their files have room for."""
_WIDE_WHITES = (2.0**24 - 1, 2.0**31 - 1, 2.0**32 - 1)
_TOLERANCE = 0.05
"""By how much of white, values that were resampled may leave the range."""
_STRIP = 256
"""Rows that are converted at a time, so that large images are in memory twice at most."""
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_UNUSABLE = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
"""Formats that Pillow knows by name but can't decode by itself."""
_ONE_IMAGE = frozenset({"MPO", "PSD", "ICO", "ICNS"})
"""Formats whose further frames are previews, depth maps, layers or sizes of the first."""


def read_image(path: Path, shrink: int = 1, warn: Warn | None = None, name: str = "") -> Pixels:
    """Decodes an image as every viewer shows it, whatever its format.

    It is turned as its EXIF orientation says. Transparent parts become white, grey and CMYK become RGB. More than 8
    bits are scaled by their range (`grey_range`). Of several pages or frames the first is read.

    Args:
        path: the file.
        shrink: 1, 2 or 4. Point (x, y) of the image is at exactly (x, y) / shrink of the result, whose size is rounded
            up or down. JPEG files with shrink > 1 decode faster. A request, not an order: look at the size.
        warn: is told what of the file is not read; by default stderr is, once for each file.
        name: for messages, where the file is a temporary one.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: the file is missing, truncated, damaged, no image, or has more pixels than the limit.
    """
    check_input_file(path, "Check the path.")
    with _explained(f" {name or path}"), open_image(path) as opened:
        with contextlib.suppress(Exception):  # damage behind the first frame
            if opened.format not in _ONE_IMAGE and getattr(opened, "is_animated", False):
                (warn or _warn_once)(f"{name or path} has several pages or frames; only the first is read.")
        image = _decode_jpeg(opened, shrink) if opened.format in ("JPEG", "MPO") else None
        return _decode_any(opened) if image is None else image


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as a viewer shows it; most files are not decoded for it.

    Raises:
        DataError: as `read_image`.
    """
    check_input_file(path, "Check the path.")
    with _explained(f" {path}"), open_image(path) as opened:
        if orientation(opened) < 5:
            return opened.width, opened.height
    height, width = read_image(path).shape[:2]  # formats differ in whether their header is turned already
    return width, height


def pixels_of(image: Image.Image) -> Pixels:
    """(H, W, 3) uint8 RGB of an opened image, as `read_image` gives it.

    Raises:
        DataError: it can't be decoded.
    """
    with _explained(""):
        return _decode_any(image)


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turns whatever a decoder raises (RuntimeError, AttributeError, struct.error, ...) into a DataError."""
    try:
        yield
    except Exception as error:
        raise DataError(f"Can't read the image{place}: {_reason(error)}") from error


def orientation(image: Image.Image) -> int:
    """EXIF (or XMP) orientation, 1 to 8, of whichever number type and byte order; 1 where it makes no sense."""
    value: Any = 1
    with contextlib.suppress(Exception):  # broken metadata costs the orientation, not the image
        value = image.getexif().get(_ORIENTATION, 1)
        value = value[0] if isinstance(value, (tuple, list, bytes)) else value
        value = int(value)
    return value if value in range(1, 9) else 1


def open_image(path: Path) -> ImageFile:
    """Reads the header; use as a context manager.

    Raises:
        Exception: whatever Pillow's decoders raise. `read_image` has one class for all.
    """
    Image.MAX_IMAGE_PIXELS = pixel_limit() // 2  # Pillow raises at twice this, also for images inside of images
    with path.open("rb") as stream:
        start = stream.read(64)
        if start.startswith(_JPEG):
            return Image.open(io.BytesIO(start + stream.read()), formats=("JPEG",))  # all of it, for OpenCV
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC and b"avif" not in start:
        need("pillow_heif", "HEIC").register_heif_opener()
        return Image.open(path, formats=("HEIF",))
    return Image.open(path, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name in Image.OPEN and name not in _UNUSABLE)


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Endings of file names that `read_image` knows, in lower case and with the dot."""
    usable = {suffix for suffix, name in Image.registered_extensions().items() if name in _formats()}
    return frozenset({*usable, ".mpo", ".heic", ".heif", ".hif"})


def _decode_jpeg(opened: ImageFile, shrink: int) -> Pixels | None:
    """By OpenCV, which gives the same pixels as Pillow, faster and in less memory; None where it can't."""
    if opened.mode not in ("RGB", "L"):
        return None
    assert isinstance(opened.fp, io.BytesIO)
    data, turn = np.frombuffer(opened.fp.getbuffer(), np.uint8), orientation(opened)
    shrink = shrink if turn == 1 else 1  # else rows and columns that rounding adds would come first
    image = cv2.imdecode(data, _REDUCED[shrink] | cv2.IMREAD_IGNORE_ORIENTATION)
    (width, height), up = opened.size, shrink - 1
    sizes = ((height + up) // shrink, (width + up) // shrink), (max(height // shrink, 1), max(width // shrink, 1))
    if image is None or image.shape[:2] not in sizes:
        return None
    if data[-2:].tobytes() != b"\xff\xd9":  # OpenCV fills what is missing with grey and says nothing
        opened.load()
    if shrink > 1:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return _turned(np.asarray(image, np.uint8), turn)


def _decode_any(opened: Image.Image) -> Pixels:
    """By Pillow, in strips, so that a large image is in memory twice at most."""
    is_deep = opened.mode == "RGB" and any(";16" in str(tile) for tile in getattr(opened, "tile", ()))
    opened.load()
    image = _decode_deep(opened) if is_deep else None
    if image is None:
        image = np.empty((opened.height, opened.width, 3), np.uint8)
        convert = _converter(opened)
        for top, strip in _strips(opened):
            image[top : top + strip.height] = convert(strip)
    return _turned(image, orientation(opened))


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    for top in range(0, image.height, _STRIP):
        yield top, image.crop((0, top, image.width, min(top + _STRIP, image.height)))


def _converter(image: Image.Image) -> Callable[[Image.Image], Pixels]:
    """What makes RGB of strips of this image."""
    if image.mode[0] in "IF":
        between = grey_range(_grey(image, strip) for _, strip in _strips(image))
        return lambda strip: to_8_bits(_grey(image, strip), between)[..., None]
    if image.has_transparency_data:
        return _on_white
    return lambda strip: np.asarray(strip.convert("RGB"))


def _grey(image: Image.Image, strip: Image.Image) -> NDArray[Any]:
    """(h, W) values of a strip; Pillow reads unsigned TIFFs of 32 bits as signed ones."""
    values = np.asarray(strip)
    tags = getattr(image, "tag_v2", {})
    is_unsigned = values.dtype == np.int32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(_BITS, (1,))[0] == 32
    return values.view(np.uint32) if is_unsigned else values


def _on_white(strip: Image.Image) -> Pixels:
    rgba = strip.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


def _decode_deep(opened: Image.Image) -> Pixels | None:
    """Colours of 10 to 14 bits in 16, of which Pillow keeps the upper, dark half; None for brighter images."""
    extrema: Any = opened.getextrema()
    name = getattr(opened, "filename", "")
    if max(high for _, high in extrema) >= 64 or not name:
        return None
    values = cv2.imdecode(np.fromfile(name, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape != (opened.height, opened.width, 3):
        return None
    between = grey_range([values])
    for top in range(0, len(values), _STRIP):
        part = values[top : top + _STRIP]
        part[:] = to_8_bits(part, between)[..., ::-1]
    return values.astype(np.uint8)


def grey_range(parts: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """What becomes black and what white.

    0 and the largest value that the depth can hold: the least of 8, 10, 12, 14 and 16 bits that holds the largest
    value, 24, 31 or 32 bits if they are used up to half of that, and for floats up to 1, 1. Otherwise, and where there
    are negative values or all would be black that way, the least and the largest value.

    Args:
        parts: integers or floats, together all of one image; NaN and infinities don't count.

    Raises:
        DataError: no value is a finite number.
    """
    low, high = np.inf, -np.inf
    whites: tuple[float, ...] = _WHITES
    for part in parts:
        known = part
        if part.dtype.kind == "f":
            known, whites = part[np.isfinite(part)], (1.0, *_WHITES)
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    if low > high:
        raise DataError("none of its values is a finite number")
    white = next((white for white in whites if high <= white * (1 + _TOLERANCE)), None)
    if white is None:
        white = next((white for white in _WIDE_WHITES if white / 2 < high <= white), None)
    if white is None or low < -_TOLERANCE * high or 0 < high < white / 255:
        return low, high
    return 0.0, white


def to_8_bits(values: NDArray[Any], between: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels of any shape, with black and white as `grey_range` says; NaN and infinities are black."""
    black, white = between
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=black, posinf=black, neginf=black)
    elif between in ((0.0, 255.0), (0.0, 65535.0)):  # whole levels stay, and 16 bits lose their lower half everywhere
        return np.asarray(values.clip(0, int(white)).astype(np.uint16) >> (0 if white == 255 else 8), np.uint8)
    shares = (values.astype(np.float64) - black) * (255 / max(white - black, 1e-300))
    return np.asarray(shares.round().clip(0, 255), np.uint8)


def _turned(image: Pixels, turn: int) -> Pixels:
    """The image as a viewer shows it that obeys this EXIF orientation."""
    mirrored = image[:, ::-1] if turn in (2, 4, 5, 7) else image
    quarters = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(turn, 0)
    return np.ascontiguousarray(np.rot90(mirrored, quarters))


def _reason(error: Exception) -> str:
    """The rest of a sentence, and what to do."""
    if isinstance(error, ConfigError):
        return f"{error}. Or convert it to JPEG."
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"it has more than {pixel_limit():,} pixels. Scale it down, or raise the limit with --max_pixels "
            "(in training -MAX_PIXELS)."
        )
    if isinstance(error, PermissionError):
        return "no permission. Change that, or remove it."
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format, or it is empty. Replace or remove it."
    text = "".join(letter if letter.isprintable() else "?" for letter in first_line(error))[:200]
    return f"{text.rstrip('.') or type(error).__name__}. Replace or remove it."


def write_image(path: Path, image: Pixels, *, spend: bool = False) -> None:
    """Writes (H, W, 3) uint8 RGB in the format of the suffix, whole or not at all.

    With ``spend`` the image's own memory is used, and it is of no use afterwards.

    Raises:
        OutputError: the file can't be written, or the format can't hold so large an image.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        done, encoded = cv2.imencode(
            path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR, dst=image if spend else None), options
        )
    except cv2.error:
        done = False
    if not done and not (path.suffix and cv2.haveImageWriter(f"x{path.suffix}")):
        raise OutputError(f"Can't write {path}: images can't be written as '{path.suffix}'. Name a .jpg or .png file.")
    if not done:
        height, width = image.shape[:2]
        raise OutputError(f"Can't write {path}: {path.suffix} can't hold an image of {width}x{height} pixels.")
    write_bytes(path, encoded.tobytes())
