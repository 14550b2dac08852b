from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import nn

from sia.errors import ConfigError, DataError, TrainingError
from sia.runtimes.device import Device
from tests.processes import finish, start, together
from utils.distributed import context as distributed
from utils.distributed.context import DistributedContext, init_distributed, running_statistics


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with init_distributed("cpu") as ranks:
        assert ranks.is_main
        assert ranks.sum(1, 2.5) == [1, 2.5]
        assert ranks.any(True)
        assert not ranks.any(False)
        assert ranks.gather("x") == ["x"]
        assert ranks.from_main("y") == "y"
        value = torch.ones(2)
        ranks.average([value])
        assert value.tolist() == [1, 1]
        with pytest.raises(DataError, match="no"), ranks.shared_errors():
            raise DataError("no")


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="-DEVICE cuda can't be used"):
        init_distributed("cuda")
    with pytest.raises(ConfigError, match="-DEVICE tpu is unknown"):
        init_distributed("tpu")


def test_several_processes_on_one_named_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Device("cuda:1", "as asked")
    monkeypatch.setattr(distributed, "choose_device", lambda wanted: named)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"-DEVICE cuda:1 names one GPU, but there are 2 processes. Use -DEVICE cuda"):
        init_distributed("cuda:1")


def test_a_broken_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK is 'first'"):
        init_distributed("cpu")


def test_running_statistics_are_those_of_batch_normalisation() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Linear(2, 2))
    model.register_buffer("constant", torch.ones(1))
    assert len(running_statistics(model)) == 2


def _exchange(rank: int) -> dict[str, Any]:
    with init_distributed("cpu") as ranks:
        return _exchanges(ranks)


def _exchanges(ranks: DistributedContext) -> dict[str, Any]:
    value, count = torch.full((2,), float(ranks.rank)), torch.tensor([ranks.rank])
    ranks.average([value])
    caught = ""
    try:
        with ranks.shared_errors():
            if ranks.rank == 1:
                raise DataError("only rank 1")
    except DataError as error:
        caught = str(error)
    return {
        "sum": ranks.sum(ranks.rank, 1.0),
        "any": [ranks.any(ranks.rank == 1), ranks.any(False)],
        "gather": ranks.gather(ranks.rank * 10),
        "from_main": ranks.from_main(f"of {ranks.rank}"),
        "average": value.tolist(),
        "count": count.tolist(),
        "caught": caught,
        "main": ranks.is_main,
    }


def test_three_ranks_agree() -> None:
    for rank, answer in enumerate(together(3, _exchange)):
        assert answer == {
            "sum": [3, 3], "any": [True, False], "gather": [0, 10, 20], "from_main": "of 0", "average": [1, 1],
            "count": [rank], "caught": "only rank 1", "main": rank == 0,
        }  # fmt: skip


def _outlive(rank: int) -> int:
    try:
        with init_distributed("cpu") as ranks:
            ranks.sum(1)
            if rank == 1:
                os._exit(9)
            ranks.gather("x")
    except TrainingError as error:
        assert "Another process of this job has ended" in str(error)
        return 5
    return 0


def test_the_end_of_a_peer_is_one_clear_error() -> None:
    assert finish(start(2, _outlive), seconds=60) == [5, 9]
