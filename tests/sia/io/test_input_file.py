import os

import pytest

from sia.errors import DataError, WeightsError
from sia.io.input_file import check_input_file


def test_a_regular_file_is_fine(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    check_input_file(tmp_path / "a.jpg")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "absent": "no such file",
        tmp_path: "it is a folder",
        tmp_path / "pipe": "a pipe, socket or device",
        tmp_path / "a\0b": "no such file",
    }
    for path, reason in cases.items():
        with pytest.raises(DataError, match=reason):
            check_input_file(path)


def test_the_hint_and_the_class_are_the_callers(tmp_path):
    with pytest.raises(WeightsError, match=r"no such file\. Check --weight_path\.$"):
        check_input_file(tmp_path / "absent", "Check --weight_path.", WeightsError)
