"""What a training checkpoint says of its run: taken over whole, or refused in one line before anything is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from sia.errors import ConfigError, WeightsError
from sia.registry import ModelConfig, create_model
from sia.runtimes.device import Device
from sia.skeletons.skeleton import COCO_PERSON
from stages.training.phases import Phase, start_phase
from stages.training.state import TrainingState, read_training
from utils.distributed.context import DistributedContext
from utils.ema import ExponentialMovingAverage

RANKS = DistributedContext(0, 1, 1, Device("cpu", "for a test"))


def state(muon: bool = True) -> TrainingState:
    torch.manual_seed(0)
    mean_pose = tuple((0.0, k / 17) for k in range(17))
    model = create_model(ModelConfig("sia_pose_decoder_led", "test", 17, (64, 64), mean_pose, COCO_PERSON.sigmas))
    optimizer, scheduler = start_phase(model, Phase("all", 2, 9, 1, 1e-3, 0.9, muon), 0.01)
    return TrainingState(
        model, ExponentialMovingAverage(model, 0.9), optimizer, scheduler, torch.amp.GradScaler("cpu", enabled=True)
    )


def step(one: TrainingState) -> None:
    for parameter in one.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    one.optimizer.step()
    one.scheduler.step()
    one.ema.update_parameters(one.model)
    one.cursor.step += 1


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    one = state()
    step(one)
    start = {"config": {}, "identity": {"images": 3}, "pretrained": {"is_trained": False, "is_whole": False}}
    return {"training": {**start, **one.to_dict(RANKS)}}


def restored(saved: dict[str, Any], one: TrainingState) -> TrainingState:
    one.restore(read_training(saved, "last.pt"), RANKS, "last.pt")
    return one


@pytest.mark.parametrize("muon", [True, False])
def test_one_step_and_one_are_two(muon: bool) -> None:
    whole = state(muon)
    step(whole)
    start = {"config": {}, "identity": {}, "pretrained": {"is_trained": False, "is_whole": False}}
    first = copy.deepcopy({"training": {**start, **whole.to_dict(RANKS)}})
    numbers = torch.rand(3)
    step(whole)
    again = restored(first, state(muon))
    assert torch.equal(torch.rand(3), numbers)
    step(again)
    assert again.cursor == whole.cursor
    for one, two in ((whole.model, again.model), (whole.ema, again.ema)):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


ODD: list[tuple[str, Any, str]] = [
    ("config", None, "$.config"),
    ("cursor", {}, "missing required field `epoch`"),
    ("cursor.epoch", "1", "Expected `int`, got `str` - at `$.cursor.epoch`"),
    ("cursor.seconds", float("nan"), "$.cursor.seconds"),
    ("cursor.sums", [], "random states of 1 processes"),
    ("cursor.sums", [{"loss": float("inf")}], "$.cursor.sums[0]"),
    ("identity", {"images": torch.ones(2)}, "$.identity"),
    ("model", {}, "missing: "),
    ("averaged_steps", -1, "$.averaged_steps"),
    ("random", [], "random states of 0 processes"),
    ("random.0.python", [3, [1, 2], None], "state vector"),
    ("random.0.numpy", ["MT19937", [-1] * 624, 0, 0, 0.0], "$.random[0].numpy"),
    ("random.0.torch", None, "$.random[0].torch"),
    ("random.0.torch", torch.zeros(3), "RNG state"),
    ("optimizer", {}, "optimizer.parts must be 2 states"),
    ("optimizer.parts.0.param_groups", [], "optimizer.parts[0].param_groups must have"),
    ("optimizer.parts.0.param_groups.0.lr", float("nan"), "param_groups[0].lr must be a number"),
    ("optimizer.parts.1.param_groups.0.betas", [0.9], "param_groups[0].betas must have 2 entries"),
    ("optimizer.parts.1.param_groups.0.params", [0], "params must have"),
    ("optimizer.parts.1.state", {10**6: {}}, "has 1000000, which is no parameter"),
    ("optimizer.parts.1.state.0", {}, "must have exp_avg, exp_avg_sq, step"),
    ("optimizer.parts.1.state.0.exp_avg", torch.ones(1, 1, 1), "state[0].exp_avg must be a tensor of"),
    ("optimizer.parts.1.state.0.step", torch.tensor(float("nan")), "state[0].step has values that are not finite"),
    ("scheduler", {"step": 3}, "is missing"),
    ("scheduler.base_lrs", [0.1], "scheduler.base_lrs must have"),
    ("scaler.scale", "1", "scaler.scale must be a number"),
]


@pytest.mark.parametrize(("place", "value", "message"), ODD)
def test_a_state_that_can_not_be(saved: dict[str, Any], place: str, value: Any, message: str) -> None:
    spoilt = copy.deepcopy(saved)
    holder = spoilt["training"]
    *way, last = [int(key) if key.isdecimal() else key for key in place.split(".")]
    for key in way:
        holder = holder[key]
    holder[last] = value
    one = state()
    before = {key: tensor.clone() for key, tensor in one.model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        restored(spoilt, one)
    assert message in str(caught.value)
    assert str(caught.value).startswith(("last.pt: its training can't be continued", "The weights in last.pt"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in one.model.state_dict().items())


def test_what_overwrites_a_method_is_left_out(saved: dict[str, Any]) -> None:
    spoilt = copy.deepcopy(saved)
    spoilt["training"]["scheduler"]["step"] = 5
    step(restored(spoilt, state()))


def test_other_processes(saved: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="trained by 3 processes"):
        restored({"training": {**saved["training"], "world_size": 3}}, state())
