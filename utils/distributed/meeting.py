"""The store through which the processes of one start find each other under torchrun.

torchrun lends its processes a store that outlives them. After a restart it still holds the addresses of the dead, and a
process that reads one of these before its living peer has written its own waits for the dead or fails, until no restart
is left. So the processes first agree on a part of the store that is theirs alone.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore  # torch.distributed has them, but untyped

from sia.errors import TrainingError

POLL = 0.05
"""Seconds between two looks into the store."""


def agent_store(timeout: timedelta) -> Store | None:
    """torchrun's store; None where it lends none, and the first process opens one of its own."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout,
        wait_for_workers=False,
    )  # fmt: skip


def meet(store: Store, rank: int, world_size: int, timeout: timedelta) -> Store:
    """The part of the store that belongs to this start of all processes.

    The first process proposes a new name, each other answers with a name of its own, and the first confirms all
    answers. A dead process can't have confirmed the answer of one that lives.

    Raises:
        TrainingError: a process doesn't come.
    """
    own, deadline = uuid.uuid4().hex, time.monotonic() + timeout.total_seconds()
    if rank == 0:
        store.set("sia/proposed", own)
        answers = [_wait(store, f"sia/{own}/{other}", deadline) for other in range(1, world_size)]
        store.set(f"sia/{own}/confirmed", json.dumps([own, *answers]))
        return PrefixStore(f"sia/{own}/group", store)
    while True:
        proposed = _wait(store, "sia/proposed", deadline)
        store.set(f"sia/{proposed}/{rank}", own)
        if store.check([f"sia/{proposed}/confirmed"]):
            confirmed = json.loads(_wait(store, f"sia/{proposed}/confirmed", deadline))
            if confirmed[rank] == own:
                return PrefixStore(f"sia/{proposed}/group", store)
        _pause(deadline)


def _wait(store: Store, key: str, deadline: float) -> str:
    while not store.check([key]):
        _pause(deadline)
    return store.get(key).decode()


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TrainingError("Not all processes have started in time. See what torchrun says about them.")
    time.sleep(POLL)
