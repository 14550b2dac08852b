"""Phases and their automatic lengths and rates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sia.errors import ConfigError
from sia.runtimes.device import choose_device
from stages.training.auto_config import make_plan, plan_phases
from stages.training.initialization import Pretrained
from stages.training.phases import freeze_epochs_of, phase_at
from utils.config.builder import build_config
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext

RANDOM, BACKBONE, WHOLE = Pretrained(), Pretrained(is_trained=True), Pretrained(is_trained=True, is_whole=True)


@pytest.fixture
def config() -> TrainConfig:
    paths = {name: Path(name) for name in ("coco_root", "train_ann", "val_ann")}
    return build_config({"model": "sia_pose", **paths})[0]


def test_only_a_pretrained_backbone_under_random_heads_is_frozen_by_itself(config: TrainConfig) -> None:
    kinds = {start: [p.trainable for p in plan_phases(config, 60, 16, start)[0]] for start in (RANDOM, BACKBONE, WHOLE)}
    assert kinds == {RANDOM: ["all"], BACKBONE: ["nothing", "all"], WHOLE: ["all"]}


def test_phases_fill_the_run_each_with_its_own_schedule(config: TrainConfig) -> None:
    first, second = plan_phases(replace(config, freeze_epochs=20, epoch=100), 60, 16, BACKBONE)[0]
    assert (first.end, first.steps, first.warmup) == (20, 1200, 60)
    assert (second.end, second.steps, second.warmup) == (100, 4800, 240)
    assert first.lr > second.lr
    phases = (first, second)
    assert [phase_at(phases, epoch) for epoch in (0, 19, 20, 99, 100)] == [first, first, second, second, second]


def test_a_run_may_be_frozen_to_its_end(config: TrainConfig) -> None:
    (only,) = plan_phases(replace(config, freeze_epochs=100), 60, 16, WHOLE)[0]
    assert (only.trainable, only.end) == ("nothing", 100)


@pytest.mark.parametrize(
    ("epochs", "steps", "frozen"), [(100, 9, 10), (100, 62, 10), (100, 3500, 1), (20, 9, 2), (1, 9, 0)]
)
def test_the_frozen_phase_is_a_tenth_but_at_most_a_thousand_steps(epochs: int, steps: int, frozen: int) -> None:
    assert freeze_epochs_of(epochs, steps) == frozen


def test_adapters_have_no_layer_decay_and_need_trained_weights(config: TrainConfig) -> None:
    first, second = plan_phases(replace(config, lora=8), 60, 16, BACKBONE)[0]
    assert (first.trainable, second.trainable, second.llrd) == ("nothing", "adapters", 1.0)
    with pytest.raises(ConfigError, match=r"-LORA 8 would keep random weights.*-BACKBONE"):
        plan_phases(replace(config, lora=8), 60, 16, RANDOM)


def test_few_steps_are_called_few(config: TrainConfig) -> None:
    """150 images in batches of 16 are 9 steps an epoch."""
    alone = DistributedContext(0, 1, 1, choose_device("cpu"))
    said = {start: dict(make_plan(config, alone, 9, 0, start).lines)["steps"] for start in (RANDOM, BACKBONE, WHOLE)}
    assert said[WHOLE] == "900 = 100 epochs x 9"
    assert said[RANDOM] == said[BACKBONE] == "900 = 100 epochs x 9; few: heads from scratch want 3000 (-EPOCH 334)"


def test_a_small_model_of_ours_goes_on_as_it_was_trained(config: TrainConfig) -> None:
    """A large one, and a backbone of others, are moved more carefully."""
    random, backbone, small = (plan_phases(config, 60, 16, start)[0][-1] for start in (RANDOM, BACKBONE, WHOLE))
    (large,) = plan_phases(replace(config, size="b16"), 60, 16, WHOLE)[0]
    assert (small.muon, small.llrd) == (random.muon, random.llrd) == (True, 1.0)
    assert (large.muon, large.llrd) == (backbone.muon, backbone.llrd) == (False, 0.8)
    assert random.lr > small.lr > large.lr == backbone.lr


def test_a_small_model_of_ours_with_frozen_parts_is_moved_as_any_other(config: TrainConfig) -> None:
    for flags in ({"lora": 8}, {"freeze_epochs": 3}):
        assert not any(phase.muon for phase in plan_phases(replace(config, **flags), 60, 16, WHOLE)[0])


def test_a_pretrained_network_for_crops_has_the_rate_of_a_pretrained_backbone(config: TrainConfig) -> None:
    """Whatever the rest starts from; a network that started at random, or was trained before, goes with the rest."""
    for start in (RANDOM, BACKBONE, WHOLE):
        phases, lines = plan_phases(config, 60, 16, replace(start, has_trunk=True))
        assert {phase.trunk for phase in phases} == {(1.5e-4, 0.8)}
        assert dict(lines)["crop network"].startswith("0.00015 (0.00015 for pretrained start")
        without, silent = plan_phases(config, 60, 16, start)
        assert [replace(phase, trunk=None) for phase in phases] == list(without) and "crop network" not in dict(silent)
    (asked,) = plan_phases(replace(config, lr=1e-3, llrd=0.9), 60, 16, replace(WHOLE, has_trunk=True))[0]
    assert asked.trunk == (1e-3, 0.9)
