"""Freed memory that stays: the kernel is asked for each page once."""

from __future__ import annotations

import subprocess
import sys

import pytest

LARGE_BLOCKS = """
import resource, sys
from utils.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no glibc")
for _ in range(8):
    block = bytearray(48 * 2**20)
    block[:] = bytes(1) * len(block)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(mode: str) -> int:
    found = subprocess.run([sys.executable, "-c", LARGE_BLOCKS, mode], capture_output=True, text=True, check=False)
    if "no glibc" in found.stderr:
        pytest.skip("this C library can't be told")
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_large_blocks_are_used_again() -> None:
    assert page_faults("keep") < 0.5 * page_faults("give back")
