"""The count of memory: equal to what the optimiser, the gradients and the average really hold."""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks import memory

FLAGS = argparse.Namespace(
    model="sia_pose_simple", size="test", backbone=None, imgsz=(64, 64), batch=2, rank=2, dtype="float32"
)


@pytest.mark.parametrize("mode", ["all", "frozen", "adapters, halved"])
def test_gradients_optimiser_and_average_are_as_counted(mode: str) -> None:
    if "adapters" in mode:
        pytest.importorskip("peft")
    training, batch = memory.make(FLAGS, mode)
    counted, model = memory.count(training, batch), training.model
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    training.optimizer.step()
    state = [value for row in training.optimizer.state.values() for key, value in row.items() if key != "step"]
    assert sum(value.nbytes for value in state) == counted["optimiser"]
    assert sum(p.grad.nbytes for p in model.parameters() if p.grad is not None) == counted["gradients"]
    own = {id(parameter) for parameter in model.parameters()}
    assert sum(p.nbytes for p in training.ema.module.parameters() if id(p) not in own) == counted["average"]


def test_what_is_computed_again_is_not_kept() -> None:
    kept = {
        mode: memory.count(*memory.make(FLAGS, mode))["activations"] for mode in ("all", "all, recomputed", "frozen")
    }
    assert kept["frozen"] < kept["all, recomputed"] < kept["all"]
