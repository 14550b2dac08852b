"""-TIME: how many steps fit, and what happens where the machine becomes slower on the way."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from sia.errors import ConfigError, WeightsError
from stages.training.state import SavedBudget
from stages.training.time_budget import MARGIN, RECENT, Deadline, Speed, budget_of, evaluation_share, fit_steps
from utils.config.builder import build_config
from utils.config.train_config import TrainConfig

SPEED = Speed(step=2.0, evaluation=10.0)


@pytest.fixture
def config() -> TrainConfig:
    paths = {name: Path(name) for name in ("coco_root", "train_ann", "val_ann")}
    return replace(build_config({"model": "sia_pose", **paths})[0], time=10.0)


def test_start_steps_and_evaluations_fill_the_time(config: TrainConfig) -> None:
    for per_epoch, every in ((1000, 1), (20, 1), (20, 5)):
        steps = fit_steps(replace(config, eval_every=every), SPEED, per_epoch, elapsed=40.0, evaluations=2)
        seconds = 40 + 2 * SPEED.evaluation + steps * (SPEED.step + SPEED.evaluation / (per_epoch * every))
        assert 600 * (1 - MARGIN) - SPEED.step - 1 < seconds <= 600 * (1 - MARGIN)


def test_too_short_a_time_says_how_much_is_needed(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"-TIME 0.5 is too short here: .* Give at least (\d\.\d)") as caught:
        fit_steps(replace(config, time=0.5), SPEED, 100, elapsed=20.0, evaluations=1)
    least = float(str(caught.value).split("at least ")[1].split(",")[0])
    assert fit_steps(replace(config, time=least + 0.1), SPEED, 100, elapsed=20.0, evaluations=1) >= 10


def run(deadline: Deadline, seconds: list[float], total: int) -> tuple[int, float, list[int]]:
    """Steps done, the time at the end, and all totals on the way, where each step takes so long."""
    now, step, totals = 0.0, 0, [total]
    while step < totals[-1]:
        totals.append(deadline.fit(step, totals[-1], total, now))
        if step >= totals[-1]:
            break
        now += seconds[min(step, len(seconds) - 1)]
        step += 1
    return step, now, totals


def test_a_steady_machine_keeps_its_plan() -> None:
    step, now, totals = run(Deadline(410.0, SPEED), [2.0, 1.95, 2.05] * 67, 200)
    assert step == 200 and set(totals) == {200}
    assert now == pytest.approx(400, abs=5)


def test_noise_on_a_busy_machine_changes_the_plan_rarely() -> None:
    """The speed swings by a third for a minute or two; in the mean it is what was measured."""
    swings = [2.0 + 0.7 * math.sin(step / 12) for step in range(4000)]
    step, now, totals = run(Deadline(8240.0, SPEED), swings, 4000)
    assert step > 3900 and now <= 8240
    assert sum(a != b for a, b in pairwise(totals)) <= 4


def test_a_slower_machine_ends_in_time_with_fewer_steps() -> None:
    step, now, totals = run(Deadline(410.0, SPEED), [2.0] * 50 + [6.0], 200)
    assert step < 120
    assert 410 - 6 * SPEED.step - 3 * SPEED.evaluation < now <= 410
    assert sorted(totals, reverse=True) == totals


@pytest.mark.parametrize(("per_epoch", "minutes"), [(500, 60.0), (100, 30.0), (10, 20.0)])
def test_evaluations_are_no_slower_steps(config: TrainConfig, per_epoch: int, minutes: float) -> None:
    """On a steady machine the plan holds, whether an evaluation takes as long as few steps or as many."""
    config, speed = replace(config, time=minutes), Speed(step=0.5, evaluation=60.0)
    planned = fit_steps(config, speed, per_epoch, elapsed=5.0, evaluations=1)
    deadline = Deadline(60 * minutes * (1 - MARGIN), speed, evaluation_share(config, speed, per_epoch))
    now, step, totals = 5.0, 0, {planned}
    while step < planned:
        total = deadline.fit(step, planned, planned, now)
        totals.add(total)
        now, step = now + speed.step, step + 1
        if step % per_epoch == 0:
            now += speed.evaluation
            deadline.pause(speed.evaluation)
    assert totals == {planned}
    assert now <= deadline.end


def test_what_was_given_up_comes_back_with_the_speed_but_no_more() -> None:
    step, now, totals = run(Deadline(410.0, SPEED), [8.0] * (RECENT + 1) + [1.0], 200)
    assert min(totals) < 100 and step == totals[-1] > 170
    assert max(totals) == 200 and now <= 410


def test_a_checkpoint_says_how_the_time_was_fitted() -> None:
    budget = msgspec.convert(Deadline(0.0, SPEED).to_dict(77), SavedBudget)
    cursor = SimpleNamespace(seconds=12.5)
    assert budget_of(SimpleNamespace(budget=budget, cursor=cursor), "last.pt") == (77, SPEED, 12.5)
    with pytest.raises(WeightsError, match=r"last\.pt doesn't say how its -TIME"):
        budget_of(SimpleNamespace(budget=None, cursor=cursor), "last.pt")


def test_time_and_epochs_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"-TIME 5 replaces -EPOCH 3\. Give one of them"):
        build_config({"model": "sia_pose", "time": 5.0, "epoch": 3})
