"""Arrays of .npz files: headers are believed only where the file has what they promise."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sia.errors import DataError
from sia.io.npz_file import Wanted, read_npz

TABLE = {"ids": Wanted("iu", ("N",)), "points": Wanted("f", ("N", 2), finite=True)}
GOOD = {"ids": np.arange(3), "points": np.ones((3, 2), np.float32)}


def read(path: Path) -> dict[str, np.ndarray]:
    return read_npz(path, TABLE, "file of points", "Make it anew.")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_fits_is_read(tmp_path: Path, save) -> None:
    save(tmp_path / "a.npz", **GOOD, other=np.array([{}], object))
    arrays = read(tmp_path / "a.npz")
    assert arrays.keys() == GOOD.keys()
    assert all(np.array_equal(arrays[name], GOOD[name]) for name in GOOD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "it has no array 'points'"),
        ({"points": np.ones((4, 2))}, "'points' has the shape (4, 2) instead of (3, 2)"),
        ({"points": np.ones((3, 2), int)}, "'points' holds int64, not floating-point numbers"),
        ({"points": np.full((3, 2), np.nan)}, "'points' has values that are not finite"),
        ({"ids": np.array([{}], object)}, "'ids' holds object, not whole numbers"),
        ({"ids": np.array(3)}, "'ids' has the shape () instead of (N)"),
    ],
)
def test_what_does_not_is_one_line(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.npz")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(1649267441664,)", "would be 13,194,139,533,312 bytes, but the file has"),
        ("(-1,)", "shape (-1)"),
        ("('a',)", "shape"),
    ],
)
def test_twelve_tebibytes_in_a_header(tmp_path: Path, shape: str, message: str) -> None:
    written = io.BytesIO()
    np.save(written, GOOD["ids"])
    data = written.getvalue()
    header = re.sub(rb"\(3,\), }(?= *\n)", f"{shape}, }}".encode(), data[10:128]).rstrip()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("ids.npy", data[:10] + header.ljust(117)[:117] + b"\n" + data[128:])
    with pytest.raises(DataError, match=re.escape(message)):
        read(tmp_path / "a.npz")


def test_zeros_that_unpack_without_end(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("ids.npy", "w") as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (1 << 28,)})
    with pytest.raises(DataError, match="would be 2,147,483,648 bytes"):
        read(tmp_path / "a.npz")
