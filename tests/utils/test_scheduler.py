from __future__ import annotations

import pytest
import torch

from utils.scheduler import FINAL, factor, make_scheduler


def test_shape_of_the_schedule() -> None:
    values = [factor(step, 1000, 100) for step in range(1000)]
    assert values[:100] == sorted(values[:100])
    assert 0 < values[0] < 0.02
    assert values[100] == 1.0
    assert values[100:] == sorted(values[100:], reverse=True)
    assert values[550] == pytest.approx((1 + FINAL) / 2, abs=0.01)
    assert values[-1] == pytest.approx(FINAL)
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (2, 1), (3, 10), (10, 8)])
def test_short_runs(total: int, warmup: int) -> None:
    assert all(0 < factor(step, total, warmup) <= 1 for step in range(total + 2))


def test_each_group_keeps_its_share() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.1}])
    scheduler = make_scheduler(optimizer, 10, 0)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([FINAL, FINAL / 10])
