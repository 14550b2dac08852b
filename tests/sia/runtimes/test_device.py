"""How much of the machine may be used, and how. Which device is taken is tested with the predictor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sia.runtimes import device


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("250000 100000", 2), ("5000 100000", 1)])
def test_cores_within_a_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    monkeypatch.setattr(device, "Path", lambda name: file)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert device.usable_cores() == expected


def test_what_caches_hold_in_a_container_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("max", "1000"), ("current", "900"), ("stat", "anon 90\nfile 810\ninactive_file 500\nactive_file 300\n"),
    ):  # fmt: skip
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(device, "Path", lambda name: tmp_path if name == "/sys/fs/cgroup" else Path(name))
    assert device.memory() == (1000, 900)


def test_threads_sleep_while_they_wait_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    device.wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    device.wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
