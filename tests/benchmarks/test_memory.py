"""The count of memory: equal to what autograd and the optimiser really hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import memory
from benchmarks.train_step import make_batch
from utils.ema import make_ema
from utils.optimizer import make_optimizer


def built(mode: str) -> memory.PoseModel:
    if "adapters" in mode:
        pytest.importorskip("peft")
    return memory.make_model("sia_pose_simple", "test", None, (64, 64), mode, 2)


@pytest.mark.parametrize("mode", ["all", "frozen", "adapters, halved, recomputed"])
def test_counting_without_numbers_is_counting(mode: str) -> None:
    batch = make_batch(2, (64, 64), 3, 0)
    real = memory.count(built(mode), batch, torch.bfloat16)
    fake = memory.count_without_numbers(lambda: built(mode), batch, torch.bfloat16)
    assert fake.activations == pytest.approx(real.activations, rel=0.01)  # the replaced matching keeps little else
    assert replace(fake, activations=0) == replace(real, activations=0)


@pytest.mark.parametrize("mode", ["all", "frozen", "adapters, halved"])
def test_gradients_optimiser_and_average_are_as_counted(mode: str) -> None:
    model, batch = built(mode), make_batch(2, (64, 64), 3, 0)
    counted = memory.count(model, batch, torch.float32)
    backbone = model.backbone
    options = {"layer_index": backbone.layer_index, "depth": backbone.depth, "layer_decay": 1.0, "muon": False}
    optimizer = make_optimizer(model, lr=1e-4, weight_decay=0.0, **options)  # type: ignore[arg-type]
    average = make_ema(model, 0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    state = [value for row in optimizer.state.values() for key, value in row.items() if key != "step"]
    assert sum(value.nbytes for value in state) == counted.optimiser
    assert sum(p.grad.nbytes for p in model.parameters() if p.grad is not None) == counted.gradients
    own = {id(parameter) for parameter in model.parameters()}
    assert sum(p.nbytes for p in average.module.parameters() if id(p) not in own) == counted.average
