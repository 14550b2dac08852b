from __future__ import annotations

import pytest
import torch
from torch import nn

from utils.ema import ExponentialMovingAverage, decay_for


def test_equals_the_plain_formula_and_copies_buffers() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema, expected = ExponentialMovingAverage(model, 0.5), None
    for step in range(12):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0 + step)
            model[1].running_mean.fill_(step)
            model[1].num_batches_tracked.fill_(step)
        ema.update_parameters(model)
        value = model[0].weight.detach().clone()
        n = step  # updates before this one
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        torch.testing.assert_close(ema.module[0].weight, expected)
        assert ema.module[1].running_mean.tolist() == [step, step]
        assert int(ema.module[1].num_batches_tracked) == step


def test_zero_keeps_the_newest() -> None:
    model = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(model, 0.0)
    for _ in range(3):
        with torch.no_grad():
            model.weight.add_(1)
        ema.update_parameters(model)
    assert torch.equal(ema.module.weight, model.weight)


def test_horizon_fits_the_run() -> None:
    assert decay_for(1) == 0
    assert decay_for(1000) == pytest.approx(0.99)
    assert decay_for(100_000) == pytest.approx(0.9999)


def test_what_is_frozen_is_shared_until_it_learns() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    ema = ExponentialMovingAverage(model, 0.5)
    assert ema.module[0].weight is model[0].weight
    assert ema.module[1].weight is not model[1].weight
    ema.update_parameters(model)
    model[0].requires_grad_(True)
    average = ema.module[1].weight
    ema.separate(model)
    assert ema.module[1].weight is average
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    torch.testing.assert_close(ema.module[0].weight, before)
    ema.update_parameters(model)
    decay = 2 / 11  # after one update
    torch.testing.assert_close(ema.module[0].weight, decay * before + (1 - decay) * model[0].weight)
