"""The one reader of images: what a viewer shows, whatever is stored how; damage and size end in one line."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import sia.io.images
from sia.errors import DataError
from sia.io.images import grey_range, image_size, pixels_of, read_image, to_8_bits, write_image
from tests.inference_helpers import name_quarters, quarters

TURNED = {1: "RGBW", 2: "GRWB", 3: "WBGR", 4: "BWRG", 5: "RBGW", 6: "BRWG", 7: "WGBR", 8: "GWRB"}


def exif(order: str, kind: int, value: int) -> bytes:
    """A block with nothing but an orientation, stored as this TIFF type."""
    end = "<" if order == "II" else ">"
    stored = struct.pack(end + {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}[kind], value)
    entry = struct.pack(end + "HHI", 0x0112, kind, 1) + stored.ljust(4, b"\0")
    return b"Exif\0\0" + order.encode() + struct.pack(end + "HIH", 42, 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_orientation_is_obeyed_in_every_format(tmp_path: Path, name: str) -> None:
    for value, seen in TURNED.items():
        block = Image.Exif()
        block[0x0112] = value
        Image.fromarray(quarters(40, 60)).save(tmp_path / name, exif=block)
        for shrink in (1, 2):
            image = read_image(tmp_path / name, shrink)
            assert name_quarters(image) == seen, value
        height, width = read_image(tmp_path / name).shape[:2]
        assert image_size(tmp_path / name) == (width, height)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
def test_orientation_is_obeyed_in_every_type(tmp_path: Path, name: str, order: str, kind: int) -> None:
    Image.fromarray(quarters(40, 60)).save(tmp_path / name, exif=exif(order, kind, 3))
    for shrink in (1, 4):
        assert name_quarters(read_image(tmp_path / name, shrink)) == "WBGR"


def test_opencv_and_pillow_give_the_same_pixels_of_jpeg(tmp_path: Path) -> None:
    """So it doesn't matter which of them decodes."""
    noise = np.random.default_rng(0).integers(0, 255, (37, 51, 3), np.uint8)
    for options in ({}, {"subsampling": 0}, {"progressive": True}):
        Image.fromarray(noise).save(tmp_path / "a.jpg", **options)
        with Image.open(tmp_path / "a.jpg") as image:
            np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), pixels_of(image))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "rgb.png", "rgb.tif"])
def test_fewer_bits_than_the_file_has_room_for(tmp_path: Path, bits: int, name: str) -> None:
    right = quarters(8, 10) if name.startswith("rgb") else quarters(8, 10)[..., :1].repeat(3, 2)
    deep = right.astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / name), deep[..., ::-1] if name.startswith("rgb") else deep[..., 0])
    assert np.abs(read_image(tmp_path / name).astype(int) - right).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(np.int32, 1), (np.int32, 2**23), (np.int32, 16), (np.float32, 1), (np.float32, 1 / 255), (np.float32, 300.0)],
)
def test_grey_of_32_bits_is_scaled(tmp_path: Path, dtype: type, factor: float) -> None:
    right = np.linspace(0, 255, 60).reshape(6, 10).astype(np.uint8)
    Image.fromarray((right.astype(np.float64) * factor).astype(dtype)).save(tmp_path / "a.tif")
    assert np.abs(read_image(tmp_path / "a.tif")[..., 0].astype(int) - right).max() <= 2


def test_unsigned_32_bits_do_not_wrap(tmp_path: Path) -> None:
    right = np.linspace(0, 255, 60).reshape(6, 10).astype(np.uint8)
    Image.fromarray((right.astype(np.uint32) << 24).view(np.int32)).save(tmp_path / "a.tif")
    signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, kind, 0) for kind in (2, 1))
    content = (tmp_path / "a.tif").read_bytes()
    assert signed in content
    (tmp_path / "a.tif").write_bytes(content.replace(signed, unsigned))
    assert np.abs(read_image(tmp_path / "a.tif")[..., 0].astype(int) - right).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], [0, 255]), ([0, 0], [0, 0]), ([7, 7], [7, 7]), ([-1000, 3000], [0, 255]), ([0.0, np.nan], [0, 0]),
        ([0.0, 1e-4], [0, 255]), ([0.0, 1.01], [0, 255]), ([0, 4095], [0, 255]), ([0, 65535], [0, 255]),
        ([0.0, 1e30], [0, 255]), ([np.inf, 1.0], [0, 255]),
    ],
)  # fmt: skip
def test_ranges_of_values(values: list[float], expected: list[int]) -> None:
    array = np.array(values)
    assert to_8_bits(array, grey_range([array])).tolist() == expected


def test_no_number_at_all() -> None:
    with pytest.raises(DataError, match="finite"):
        grey_range([np.full((2, 2), np.nan)])


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png", "a.avif"])
def test_the_first_of_several_pages_is_read_and_said(tmp_path: Path, name: str) -> None:
    pages = [Image.fromarray(quarters(40, 60)), Image.new("RGB", (60, 40))]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    said: list[str] = []
    assert name_quarters(read_image(tmp_path / name, warn=said.append)) == "RGBW"
    assert len(said) == 1 and name in said[0] and "only the first" in said[0]


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, NotImplementedError, struct.error, ZeroDivisionError])
def test_whatever_a_decoder_raises_is_one_line_with_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def decode(*_: object) -> None:
        raise error("first\nsecond\x1b")

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(sia.io.images, "_decode_any", decode)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a.png")
    assert "a.png: first. Replace" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "TGA", "DDS", "SPIDER", "JPEG2000", "QOI"):
        stream = io.BytesIO()
        image = Image.fromarray(quarters(12, 16))
        (image.convert("F") if name == "SPIDER" else image).save(stream, name)
        whole = stream.getvalue()
        for _ in range(12):
            content = np.frombuffer(whole, np.uint8).copy()
            at = rng.integers(0, min(len(content), 120), 3)
            content[at] = rng.integers(0, 256, 3)
            (tmp_path / "a.bin").write_bytes(content.tobytes())
            try:
                assert read_image(tmp_path / "a.bin", warn=lambda line: None).shape[2] == 3
            except DataError as error:
                assert "a.bin" in str(error) and "\n" not in str(error)


def test_heic_names_the_plug_in(tmp_path: Path) -> None:
    if sia.io.images.Image.registered_extensions().get(".heic"):
        pytest.skip("pillow-heif is installed")
    (tmp_path / "b.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    with pytest.raises(DataError, match=r"b\.jpg: HEIC needs the package pillow-heif.*: pip install pillow-heif"):
        read_image(tmp_path / "b.jpg")


def test_pixels_are_counted_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "a.jpg", "a.gif"):
        Image.new("RGB", (60, 40)).save(tmp_path / name)
        monkeypatch.setenv("SIA_MAX_PIXELS", "2399")
        with pytest.raises(DataError, match=rf"{name}: it has more than 2,399 pixels.*--max_pixels.*-MAX_PIXELS"):
            read_image(tmp_path / name)
        monkeypatch.setenv("SIA_MAX_PIXELS", "2400")
        assert read_image(tmp_path / name).shape == (40, 60, 3)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for name, reason in (("a.png", "a pipe"), ("none.png", "no such file"), ("", "a folder")):
        with pytest.raises(DataError, match=reason):
            read_image(tmp_path / name)


def test_a_jpeg_that_is_too_long_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"can't hold an image of 66000x1 pixels"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 66_000, 3), np.uint8))


@pytest.mark.parametrize("value", [0, 9])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, value: int) -> None:
    Image.fromarray(quarters(40, 60)).save(tmp_path / "a.jpg", exif=exif("II", 3, value))
    assert name_quarters(read_image(tmp_path / "a.jpg")) == TURNED[1]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0], pixels[1] = (200, 100, 50, 255), (200, 100, 50, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 100, 50]] * 3, [[255, 255, 255]] * 3]
