"""What entry points print instead of a traceback."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from pathlib import Path

import pytest

import train_pose
from sia.errors import exit_status
from sia.io.input_file import check_input_file, check_input_folder
from sia.io.output_file import check_new, named_folder


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENAMETOOLONG])
def test_what_the_system_refuses_is_one_line(number: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number), "some/where")

    monkeypatch.setattr(train_pose, "train", refused)
    for job in (lambda: exit_status(refused), lambda: train_pose.main([])):
        assert job() == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: Can't read or write some/where: {os.strerror(number)}.")
        assert said.count("\n") == 1


def test_other_faults_stay_visible() -> None:
    def fault() -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with pytest.raises(OSError, match="Bad file"):
        exit_status(fault)


def as_nobody(tmp_path: Path) -> None:
    """In a child: what root may, nobody else may."""
    locked = tmp_path / "locked"
    for job in (
        lambda: check_input_file(locked / "a.json"),
        lambda: check_input_folder(locked),
        lambda: check_input_folder(locked / "inside"),
        lambda: named_folder(locked / "new"),
        lambda: check_new(locked / "new.json"),  # writing it says so
    ):
        exit_status(job)


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="needs root, to become somebody else")
def test_without_permission(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "locked" / "inside").mkdir(parents=True)
    (tmp_path / "locked" / "a.json").write_text("{}")
    (tmp_path / "locked").chmod(stat.S_IWUSR)
    before = os.geteuid()
    try:
        os.seteuid(65534)
        as_nobody(tmp_path)
    finally:
        os.seteuid(before)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 4 and all(line.startswith("error: Can't ") for line in said)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "shift_jis"])
def test_every_name_can_be_printed(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """Bytes of a name that are no UTF-8, and letters that the console's encoding lacks."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    assert exit_status(lambda: print("a\udcff", "\u0153il", "\U0001f9cd")) == 0
    sys.stdout.flush()
    assert b"a\\udcff" in buffer.getvalue()
