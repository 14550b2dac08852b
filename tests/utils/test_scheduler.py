from __future__ import annotations

import itertools

import pytest
import torch

from utils.scheduler import FINAL, Schedule, end_schedule_at, make_scheduler


def test_shape_of_the_schedule() -> None:
    values = list(map(Schedule(1000, 100), range(1000)))
    assert values[:100] == sorted(values[:100])
    assert 0 < values[0] < 0.02
    assert values[100] == 1.0
    assert values[100:] == sorted(values[100:], reverse=True)
    assert values[550] == pytest.approx((1 + FINAL) / 2, abs=0.01)
    assert values[-1] == pytest.approx(FINAL)
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (2, 1), (3, 10), (10, 8)])
def test_short_runs(total: int, warmup: int) -> None:
    assert all(0 < Schedule(total, warmup)(step) <= 1 for step in range(total + 2))


def optimizer_of(rates: tuple[float, ...] = (1.0, 0.1)) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def test_each_group_keeps_its_share() -> None:
    optimizer = optimizer_of()
    scheduler = make_scheduler(optimizer, 10, 0)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([FINAL, FINAL / 10])


@pytest.mark.parametrize("total", [50, 80, 150])
def test_another_end_goes_on_from_where_it_is(total: int) -> None:
    schedule = Schedule(100, 10)
    before = schedule(40)
    schedule.end_at(total, 40)
    values = [schedule(step) for step in range(40, total)]
    assert values[0] == before
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(FINAL)
    steps = [a - b for a, b in itertools.pairwise(values)]
    assert max(steps) < 0.2


def test_another_end_in_the_warm_up() -> None:
    schedule = Schedule(100, 10)
    schedule.end_at(60, 5)
    assert [schedule(step) for step in range(11)] == [Schedule(100, 10)(step) for step in range(11)]
    assert schedule(59) == pytest.approx(FINAL)


def test_a_checkpoint_keeps_another_end() -> None:
    """Two ends in a run; the second half continued from a checkpoint."""
    optimizer = optimizer_of()
    scheduler = make_scheduler(optimizer, 100, 5)
    rates = []
    for step in range(60):
        if step in (20, 40):
            end_schedule_at(scheduler, 80 - step // 2)
        if step == 50:
            saved = (optimizer.state_dict(), scheduler.state_dict())
            optimizer = optimizer_of()
            scheduler = make_scheduler(optimizer, 100, 5)
            optimizer.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])
        rates.append(optimizer.param_groups[1]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(FINAL * 0.1)
