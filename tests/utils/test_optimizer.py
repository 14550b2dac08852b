from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch.optim import Muon
from torch.optim._muon import _zeropower_via_newtonschulz
from torch.optim.lr_scheduler import LambdaLR

from sia.backbones.build import SIZES, build_backbone
from sia.modules.conv_pyramid import ConvPyramid, stage_of
from sia.registry import ModelConfig, create_model
from utils.optimizer import (
    FINAL,
    MUON_RATE,
    TRUNK,
    Float32Muon,
    Schedule,
    end_schedule_at,
    is_decayed,
    is_hidden_matrix,
    learning_rates,
    make_optimizer,
    one_cycle,
    orthogonalised,
)


def model_of(name: str, map_refiner: bool = False) -> torch.nn.Module:
    known = ((0.0, 0.0),) * 3, (0.1,) * 3
    return create_model(ModelConfig(name, "test", 3, (64, 64), *known, map_refiner=map_refiner))


@pytest.mark.parametrize("name", ["sia_pose_simple", "sia_pose", "sia_pose_decoder_led"])
@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize("muon", [True, False])
def test_every_parameter_is_in_one_group_with_its_rate(name: str, decay: float, muon: bool) -> None:
    model = model_of(name)
    backbone = model.backbone
    optimizer = make_optimizer(model, lr=1.0, weight_decay=0.05, layer_decay=decay, muon=muon)
    rows = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters())) == len(rows)
    for key, parameter in model.named_parameters():
        group = rows[id(parameter)]
        assert group["weight_decay"] == (0.05 if is_decayed(key, parameter) else 0.0)
        expected = 1.0
        if key.startswith("backbone.") and decay < 1:
            expected = decay ** (backbone.depth + 1 - backbone.layer_index(key.removeprefix("backbone.")))
        if muon and is_hidden_matrix(key, parameter):
            expected *= MUON_RATE
        assert group["lr"] == pytest.approx(expected)


def test_a_pretrained_network_for_crops_learns_as_a_pretrained_backbone() -> None:
    """Its own rate, lower from stage to stage; Muon would take the matrices of a ConvNeXt."""
    config = ModelConfig(
        "sia_pose_simple", "test", 3, (64, 64), ((0.0, 0.0),) * 3, (0.1,) * 3, None, (64, 64), "test_convnext"
    )
    model = create_model(config)
    assert isinstance(model.roi_head.body, ConvPyramid)
    options = {"lr": 1.0, "weight_decay": 0.05, "layer_decay": 1.0, "muon": True}
    plain, lowered = (make_optimizer(model, trunk=rates, **options) for rates in (None, (0.1, 0.5)))
    found = [
        {id(p): group for group in optimizer.param_groups for p in group["params"]} for optimizer in (plain, lowered)
    ]
    matrices = 0
    for name, parameter in model.named_parameters():
        before, after = (groups[id(parameter)] for groups in found)
        if name.startswith(TRUNK):
            stage = stage_of(name.removeprefix(TRUNK))
            assert after["lr"] == pytest.approx(0.1 * 0.5 ** (5 - stage)) and after["name"] == f"trunk-{stage:02d}"
            matrices += before["name"] == "new-matrices"
        else:
            assert (before["lr"], before["name"]) == (after["lr"], after["name"])
        assert before["weight_decay"] == after["weight_decay"]
    assert matrices and {group["name"] for group in lowered.param_groups} >= {"trunk-00", "trunk-04"}


@pytest.mark.parametrize(("older", "refiner"), [(False, "roi_head.refiner."), (True, "refiner.")])
def test_muon_moves_the_matrices_inside_the_layers_only(older: bool, refiner: str) -> None:
    model = model_of("sia_pose", older)
    hidden = {key for key, parameter in model.named_parameters() if is_hidden_matrix(key, parameter)}
    assert {"backbone.vit.blocks.0.attn.qkv.weight", f"{refiner}layers.0.attend_cross.out.weight"} <= hidden
    outside = ("head.", "stem", "offsets", "pos_embed", "move", "bias")
    assert not any(part in key.removeprefix("roi_head.refiner.layers.") for key in hidden for part in outside)


def test_muon_on_a_cpu_takes_the_steps_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the products in bfloat16, which are replaced; and a run of one goes on with the state of the other."""
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", orthogonalised)
    torch.manual_seed(0)
    start = [torch.randn(24, 8), torch.randn(8, 24), torch.randn(16, 16)]
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.05, "adjust_lr_fn": "match_rms_adamw"}
    first, second = Float32Muon(ours, **options), Muon(theirs, **options)
    for step in range(4):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape, generator=torch.manual_seed(step))
            other.grad = own.grad.clone()
        first.step()
        second.step()
        if step == 1:
            first.load_state_dict(copy.deepcopy(second.state_dict()))
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)


def test_an_orthogonalised_matrix_has_singular_values_near_one() -> None:
    for shape in ((40, 10), (10, 40), (16, 16)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape), (3.4445, -4.775, 2.0315), 5, 1e-7))
        assert values.max() < 1.3 and values.median() > 0.6


def test_float32_and_bfloat16_point_the_same_way() -> None:
    options = ((3.4445, -4.775, 2.0315), 5, 1e-7)
    for shape in ((384, 128), (128, 512)):
        matrix = torch.randn(shape, generator=torch.manual_seed(0))
        ours, theirs = orthogonalised(matrix, *options), _zeropower_via_newtonschulz(matrix, *options).float()
        assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("muon", [True, False])
def test_state_dict_continues_exactly_and_schedules_reach_both_parts(muon: bool) -> None:
    def run(steps: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for step in range(steps):
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = torch.full_like(parameter, 0.01 * (step + number + 1))
            optimizer.step()

    def new() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = model_of("sia_pose_decoder_led")
        return model, make_optimizer(model, lr=1e-3, weight_decay=0.05, layer_decay=1.0, muon=muon)

    whole, optimizer = new()
    run(2, whole, optimizer)
    weights, state = {k: v.clone() for k, v in whole.state_dict().items()}, optimizer.state_dict()
    run(2, whole, optimizer)
    again, second = new()
    again.load_state_dict(weights)
    second.load_state_dict(copy.deepcopy(state))
    for group in second.param_groups:
        group["lr"] = 0.0
    run(1, again, second)
    assert all(torch.equal(weights[key], value) for key, value in again.state_dict().items())  # no rate, no change


def test_without_a_matrix_that_learns_all_is_moved_by_adamw() -> None:
    """A frozen backbone under heads that have no transformer layer of their own."""
    model = model_of("sia_pose_simple")
    model.backbone.requires_grad_(False)
    optimizer = make_optimizer(model, lr=1.0, weight_decay=0.0, layer_decay=1.0, muon=True)
    assert isinstance(optimizer, torch.optim.AdamW)


def test_what_is_never_decayed() -> None:
    model = model_of("sia_pose")
    free = {key for key, parameter in model.named_parameters() if not is_decayed(key, parameter)}
    assert all(key in free for key, parameter in model.named_parameters() if parameter.ndim < 2)
    assert "backbone.vit.pos_embed" in free
    vit = build_backbone(SIZES["ti16"], (64, 64))
    tokens = {key for key, p in vit.named_parameters() if "token" in key or "pos_embed" in key}
    assert tokens
    assert not any(is_decayed(key, dict(vit.named_parameters())[key]) for key in tokens)
    assert is_decayed("backbone.vit.blocks.0.mlp.fc1.weight", torch.zeros(2, 2))


def test_learning_rates_for_the_log() -> None:
    model = model_of("sia_pose_simple")
    options = {"weight_decay": 0.1, "muon": True}
    assert learning_rates(make_optimizer(model, lr=0.5, layer_decay=1.0, **options)) == {"new": 0.5}
    rates = learning_rates(make_optimizer(model, lr=1.0, layer_decay=0.5, **options))
    assert rates["new"] == 1.0
    assert rates["backbone_first"] == 0.5 ** (model.backbone.depth + 1)
    assert rates["backbone_last"] == 0.5  # the last block; this variant has a final norm of its own


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
    scheduler = LambdaLR(optimizer, Schedule(10, 0))
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
    scheduler = LambdaLR(optimizer, Schedule(100, 5))
    rates = []
    for step in range(60):
        if step in (20, 40):
            end_schedule_at(scheduler, 80 - step // 2)
        if step == 50:
            saved = (optimizer.state_dict(), scheduler.state_dict())
            optimizer = optimizer_of()
            scheduler = LambdaLR(optimizer, Schedule(100, 5))
            optimizer.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])
        rates.append(optimizer.param_groups[1]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(FINAL * 0.1)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20])
@pytest.mark.parametrize("warm_up", [0.05, 0.1, 0.5])
def test_one_cycle_of_any_length(steps: int, warm_up: float) -> None:
    optimizer = optimizer_of((0.5,))
    schedule, rates = one_cycle(optimizer, 0.5, steps, warm_up), []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates) and rates[-1] == min(rates)
