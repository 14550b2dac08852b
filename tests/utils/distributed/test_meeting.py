"""Processes of one start find each other in a store that outlives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import torch.distributed as dist

from sia.errors import TrainingError
from utils.distributed.meeting import agent_store, meet

SOON = timedelta(seconds=20)


@pytest.fixture
def store() -> Iterator[dist.Store]:
    yield dist.HashStore()


def start(store: dist.Store, ranks: list[int], world_size: int = 3) -> tuple[dict[int, dist.Store], threading.Event]:
    """Lets ranks meet, each in a thread; the parts that they agree on, and an event once all have."""
    met: dict[int, dist.Store] = {}
    done = threading.Event()

    def join(rank: int) -> None:
        met[rank] = meet(store, rank, world_size, SOON)
        if len(met) == len(ranks):
            done.set()

    for rank in ranks:
        threading.Thread(target=join, args=(rank,), daemon=True).start()
    return met, done


def test_a_restart_never_meets_the_dead(store: dist.Store) -> None:
    """Whoever comes first of the second start finds all that the first one left, a confirmation among it."""
    first, done = start(store, [0, 1, 2])
    assert done.wait(10)
    first[0].set("address", "of the dead")
    assert first[2].get("address") == b"of the dead"
    early, _ = start(store, [1, 2])
    assert not threading.Event().wait(0.3)
    assert early == {}  # they don't take the old confirmation for their own
    late, done = start(store, [0])
    assert done.wait(10)
    for _ in range(100):
        if len(early) == 2:
            break
        threading.Event().wait(0.05)
    late[0].set("address", "of the living")
    assert {part.get("address") for part in (*early.values(), *late.values())} == {b"of the living"}


def test_who_never_comes_is_one_clear_error(store: dist.Store) -> None:
    for rank in (0, 1):
        with pytest.raises(TrainingError, match="Not all processes have started"):
            meet(store, rank, 2, timedelta(seconds=0.1))


def test_no_store_is_lent_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert agent_store(SOON) is None
