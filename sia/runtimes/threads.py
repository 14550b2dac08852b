"""How the threads of a CPU wait for each other. Imports nothing heavy: it has to be settled before torch is loaded."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Lets OpenMP's threads sleep while they wait, unless the user has said otherwise with ``OMP_WAIT_POLICY``.

    By default they spin, which takes the processor from threads that have work as soon as anything else runs on the
    machine. `benchmarks/threads.py` measures both, idle and busy.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
