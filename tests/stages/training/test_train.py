"""The baseline stage on a few synthetic people: exact resume, interruption, bad losses, refusals."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import train_pose
from datasets.synthetic import write_dataset
from datasets.workers import BatchWorkers
from sia.errors import ConfigError, OutputError
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.losses.criterion import PoseCriterion
from sia.runtimes.torch_runtime import TorchRuntime
from stages import evaluator
from stages.training import auto_config as plan
from stages.training import time_budget, trainer, trial, visualizer
from stages.training import train as train_module
from stages.training.auto_config import choose_precision, choose_workers
from stages.training.trainer import Trainer


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 16, 3, 64, 0, 0)
    return folder


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """The images are drawn in a test of their own; here they would take most of the time."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(visualizer.TrainingVisualizer, "epoch", lambda *_: None)
        context.setattr(visualizer.TrainingVisualizer, "training_batch", lambda *_: None)
        yield


@pytest.fixture
def train(people: Path, tmp_path: Path) -> Callable[..., int]:
    return training(people, tmp_path)


@pytest.fixture(scope="module")
def unbroken(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 2 epochs that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert training(people, folder)("-EXP whole") == 0
    return folder / "whole"


@pytest.fixture(scope="module")
def short(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 1 epoch."""
    folder = tmp_path_factory.mktemp("short")
    assert training(people, folder)("-EXP first -EPOCH 1") == 0
    return folder / "first"


def training(people: Path, output: Path) -> Callable[..., int]:
    """Runs train_pose.py in this process with the miniature model, 4 steps an epoch."""
    data = f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json"
    fixed = f"{data} -SIZE test -IMGSZ 64 -BS 4 -WORKERS 0 -DEVICE cpu -OUTPUT {output}"

    def run(flags: str) -> int:
        base = "" if "last.pt" in flags else f"-MODEL sia_pose_simple {fixed}"
        length = "" if "last.pt" in flags or "-TIME" in flags else "-EPOCH 2"
        words = base.split() + length.split() + flags.split()
        last = dict(itertools.pairwise(words))  # a flag given twice counts once, the later one
        names = [word for word in dict.fromkeys(words) if word.startswith("-")]
        return train_pose.main(
            [
                w
                for n in names
                for w in ([n] if n in ("--SAVE", "--WANDB", "--CERTAINTY_ONLY", "--FREEZE_ROI") else [n, last[n]])
            ]
        )

    return run


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal in the given step."""
    count = Trainer._count

    def counted(self: Trainer, *arguments: Any) -> None:
        count(self, *arguments)
        if self.cursor.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "_count", counted)


def assert_same(a: Any, b: Any, path: str = "") -> None:
    """Bit for bit, but for times and places."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a.keys() - {"seconds", "exp", "resume", "output"}:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_same(left, right, f"{path}/{i}")
    else:
        assert a == b, path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def test_n_and_n_steps_are_2n(
    train: Callable[..., int], unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the first epoch, at its end before the evaluation, and in the second."""
    for step in (3, 4, 7):
        with monkeypatch.context() as context:
            stop_after(context, step)
            assert train(f"-EXP at-{step}") == 143
        last = tmp_path / f"at-{step}" / "weights" / "last.pt"
        saved = load_checkpoint(last)["training"]["cursor"]
        assert (saved["step"], saved["epoch"], saved["batch"]) == (step, (step - 1) // 4, (step - 1) % 4 + 1)
        torch.rand(5)  # whatever this process does meanwhile must not matter
        assert train(f"--RESUME {last}") == 0
        assert_same_runs(unbroken, tmp_path / f"at-{step}")
    assert len(list(tmp_path.iterdir())) == 3  # resumed in their own folders


def assert_same_runs(a: Path, b: Path) -> None:
    assert rows_of(a) == rows_of(b)
    for name in ("last.pt", "best.pt"):
        assert_same(load_checkpoint(a / "weights" / name), load_checkpoint(b / "weights" / name))


def test_a_signal_in_the_evaluation_does_not_wait_for_it(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All was saved before it, and the continued run evaluates."""
    assert train("-EXP whole -BS 1 -ACCUM 4") == 0
    predict, calls = evaluator.predict_batch, []

    def signalled(*arguments: Any) -> Any:
        calls.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        return predict(*arguments)

    with monkeypatch.context() as context:
        context.setattr(evaluator, "predict_batch", signalled)
        assert train("-EXP parts -BS 1 -ACCUM 4") == 130
    assert len(calls) == 1  # of 3 batches
    last = tmp_path / "parts" / "weights" / "last.pt"
    assert load_checkpoint(last)["training"]["cursor"]["batch"] == 16
    assert train(f"--RESUME {last}") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_does_not_wait_for_a_batch(
    train: Callable[..., int], unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The batch that never comes is the first of the continued run."""
    fetched = BatchWorkers.__iter__

    def stuck(self: BatchWorkers[Any]) -> Iterator[Any]:
        for count, batch in enumerate(fetched(self)):
            if count == 2:
                threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
                time.sleep(60)
            yield batch

    with monkeypatch.context() as context:
        context.setattr(BatchWorkers, "__iter__", stuck)
        begin = time.monotonic()
        assert train("-EXP parts") == 128 + number
        assert time.monotonic() - begin < 50
    last = tmp_path / "parts" / "weights" / "last.pt"
    assert load_checkpoint(last)["training"]["cursor"]["step"] == 2
    assert train(f"--RESUME {last}") == 0
    assert_same_runs(unbroken, tmp_path / "parts")


def test_a_restart_of_torchrun_goes_on_in_the_folder_of_its_run(
    train: Callable[..., int], unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before the first save, and in the second epoch; another launch begins a run of its own."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    with monkeypatch.context() as context:
        context.setattr(Trainer, "run", lambda *_: 9)
        assert train("-EXP run") == 128 + 9
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with monkeypatch.context() as context:
        stop_after(context, 7)
        assert train("-EXP run") == 143
    assert train("-EXP run") == 0
    assert_same_runs(unbroken, tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "b")
    assert train("-EXP run -EPOCH 1") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


def test_a_time_budget_cuts_the_last_epoch_and_resumes_exactly(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """6 steps of 4 an epoch; then the same, but become slower: 5 steps."""
    monkeypatch.setattr(time_budget, "measure_speed", lambda *_: time_budget.Speed(1.0, 1.0))
    monkeypatch.setattr(time_budget, "fit_steps", lambda *_, **__: 6)
    assert train("-EXP whole -TIME 9") == 0
    assert [(row["epoch"], row["step"], row["AP"] != "") for row in rows_of(tmp_path / "whole")] == [
        ("1", "4", True), ("2", "6", True),
    ]  # fmt: skip
    assert re.search(r"time +9 minutes \(-TIME\) are 6 steps, 1.5 epochs", capsys.readouterr().out)
    with monkeypatch.context() as context:
        stop_after(context, 5)
        assert train("-EXP parts -TIME 9") == 143
    last = tmp_path / "parts" / "weights" / "last.pt"
    monkeypatch.setattr(time_budget, "measure_speed", None)  # what was measured stands in the checkpoint
    assert train(f"--RESUME {last}") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    assert train(f"--RESUME {last}") == 0 and len(rows_of(tmp_path / "parts")) == 2


def test_a_run_that_becomes_slower_ends_sooner(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time_budget, "measure_speed", lambda *_: time_budget.Speed(1.0, 1.0))
    monkeypatch.setattr(time_budget, "fit_steps", lambda *_, **__: 8)
    monkeypatch.setattr(time_budget.Deadline, "fit", lambda _, step, total, most: 5 if step >= 3 else total)
    assert train("-EXP run -TIME 9") == 0
    assert [row["step"] for row in rows_of(tmp_path / "run")] == ["4", "5"]
    assert "The speed has changed: 5 steps instead of 8" in capsys.readouterr().out
    cursor = load_checkpoint(tmp_path / "run" / "weights" / "last.pt")["training"]["cursor"]
    assert (cursor["epoch"], cursor["step"], cursor["total"]) == (2, 5, 5)


def test_a_time_of_fewer_epochs_than_another_flag_wants(
    train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time_budget, "measure_speed", lambda *_: time_budget.Speed(1.0, 1.0))
    monkeypatch.setattr(time_budget, "fit_steps", lambda *_, **__: 8)
    assert train("-EXP run -TIME 9 -PLAIN_EPOCHS 3") == 1
    assert "error: -TIME 9 is 2 epochs here. -PLAIN_EPOCHS 3 is more than -EPOCH 2." in capsys.readouterr().err


def test_a_run_that_is_continued_keeps_its_figures(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped twice in the second epoch: the figures of the first stay in last.pt."""
    last = tmp_path / "run" / "weights" / "last.pt"
    for step, flags in ((5, "-EXP run"), (6, f"--RESUME {last}")):
        with monkeypatch.context() as context:
            stop_after(context, step)
            assert train(flags) == 143
        assert load_checkpoint(last)["metrics"]["epoch"] == 1


def test_the_trial_leaves_the_weights_as_they_were(train: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    measure, seen = time_budget.measure_speed, []

    def watched(config: Any, plan: Any, model: torch.nn.Module, *rest: Any) -> time_budget.Speed:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        speed = measure(config, plan, model, *rest)
        seen.append(all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()))
        assert 0 < speed.step < 60 and speed.evaluation > 0
        return speed

    monkeypatch.setattr(time_budget, "measure_speed", watched)
    monkeypatch.setattr(time_budget, "TRIAL_SECONDS", 0.01)
    monkeypatch.setattr(time_budget, "fit_steps", lambda *_, **__: 1)
    assert train("-EXP run -TIME 9") == 0
    assert seen == [True]


def test_patience_ends_a_flat_run_and_resumes_exactly(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first epoch sets the best AP, two bring no better; stopped in the third, the run ends where it would have."""
    flags = "-BS 8 -EPOCH 9 -PATIENCE 2 -LR 1e-12"  # weights that do not move have one AP
    assert train(f"-EXP whole {flags}") == 0
    assert [row["epoch"] for row in rows_of(tmp_path / "whole")] == ["1", "2", "3"]
    assert "AP had not risen for 2 epochs (-PATIENCE)" in capsys.readouterr().out
    with monkeypatch.context() as context:
        stop_after(context, 5)
        assert train(f"-EXP parts {flags}") == 143
    last = tmp_path / "parts" / "weights" / "last.pt"
    assert load_checkpoint(last)["training"]["cursor"]["stale"] == 1
    assert train(f"--RESUME {last}") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    capsys.readouterr()
    assert train(f"--RESUME {last}") == 0
    assert "This run is finished: its 3 epochs are done" in (shown := capsys.readouterr().out)
    assert "AP had not risen for 2 epochs (-PATIENCE). To train longer" in shown


def test_patience_counts_epochs_between_evaluations(train: Callable[..., int], tmp_path: Path) -> None:
    assert train("-EXP run -BS 16 -EPOCH 20 -PATIENCE 3 -EVAL_EVERY 2 -LR 1e-12") == 0
    assert rows_of(tmp_path / "run")[-1]["epoch"] == "6"


def test_a_batch_that_fits_is_chosen_once(
    train: Callable[..., int],
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """16 images in at least STEPS steps; the run is that of the same number given, and resumes with it."""
    monkeypatch.setattr(trial, "STEPS", 4)
    with monkeypatch.context() as context:
        stop_after(context, 3)
        assert train("-EXP parts -BS auto") == 143
    shown = capsys.readouterr().out
    assert re.search(r"batch size +4 \(-BS auto\): the most that is sensible for 16 images on cpu; [\d.]+ GB", shown)
    assert "4 = 4 (-BS) x 1 (-ACCUM)" in shown
    monkeypatch.setattr(train_module, "fit_to_memory", None)  # what was found stands in the checkpoint
    assert train(f"--RESUME {tmp_path}/parts/weights/last.pt -BS auto") == 0
    assert_same_runs(unbroken, tmp_path / "parts")


def test_a_batch_that_does_not_fit_is_not_chosen(
    train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial, "STEPS", 1)
    monkeypatch.setattr(trial, "memory", lambda: (0, 0))
    assert train("-EXP run -BS auto -EPOCH 1") == 0
    assert "1 (-BS auto): what fits; 0.0 GB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("room", "most", "expected"), [(100, 256, 90), (100, 64, 64), (37, 256, 27), (12, 256, 2), (5, 256, 1)]
)
def test_the_search_for_a_batch(room: int, most: int, expected: int) -> None:
    """10 bytes, and one more an image."""
    tried: list[int] = []

    def peak(images: int) -> int | None:
        tried.append(images)
        return 10 + images if 10 + images <= room else None

    assert trial.search(peak, room, most) == expected
    assert max(tried) <= most and len(tried) < 12


def test_ctrl_c_leaves_with_130(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop_after(monkeypatch, 1, signal.SIGINT)
    assert train("-EXP run") == 130
    shown = capsys.readouterr().out
    assert "Stopped by SIGINT after step 1" in shown
    assert re.search(rf"python'? train_pose.py --RESUME {tmp_path}/run/weights/last.pt", shown)
    assert signal.getsignal(signal.SIGINT) is before


def test_accumulation_and_the_rest_of_an_epoch(train: Callable[..., int], tmp_path: Path) -> None:
    """4 batches in steps of 3 are 2 steps an epoch, the second with one batch."""
    assert train("-EXP run -ACCUM 3 -EVAL_EVERY 2 --SAVE") == 0
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert rows[0]["AP"] == ""
    assert rows[1]["AP"] != ""
    names = sorted(path.name for path in (tmp_path / "run" / "weights").iterdir())
    assert names == ["best.pt", "epoch-002.pt", "last.pt"]


def test_a_loss_that_is_not_finite(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forward, steps = PoseCriterion.forward, []

    def spoiled(self: PoseCriterion, *arguments: Any) -> dict[str, torch.Tensor]:
        losses = forward(self, *arguments)
        steps.append(1)
        return {**losses, "box": losses["box"] * float("nan")} if len(steps) == 3 else losses

    updates: list[int] = []
    monkeypatch.setattr(PoseCriterion, "forward", spoiled)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: updates.append(1))
    assert train("-EXP run") == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: The loss or its gradient")
    assert "step 3, epoch 1" in message
    assert "box nan" in message
    assert message.count(".jpg") >= 4
    assert len(updates) == 2


def test_a_full_disk_stops_with_one_line(
    train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, payload: object) -> None:
        raise OutputError(f"Can't write {path}: No space left on device.")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    assert train("-EXP run") == 1
    assert re.search(r"error: Can't write \S+last\.pt: No space left", capsys.readouterr().err)


@pytest.fixture
def finished(short: Path, tmp_path: Path) -> Path:
    """The weights of a finished run of 1 epoch: a copy, which a test may change."""
    return shutil.copytree(short, tmp_path / "first") / "weights"


def test_what_a_resumed_run_refuses(
    train: Callable[..., int],
    finished: Path,
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases = {"-BS 2": "-BS 4 -> 2", "-EPOCH 9": "-EPOCH 1 -> 9", f"-TRAIN_ANN {people}/val.json": "continued exactly"}
    for flags, message in cases.items():
        assert train(f"--RESUME {finished}/last.pt {flags}") == 1
        assert message in capsys.readouterr().err
    checkpoint = load_checkpoint(finished / "last.pt")
    checkpoint["training"]["world_size"] = 3
    save_checkpoint(finished / "last.pt", checkpoint)
    assert train(f"--RESUME {finished}/last.pt") == 1
    assert "trained by 3 processes" in capsys.readouterr().err


def test_a_finished_run_says_so_again(
    train: Callable[..., int], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished.parent / "results.csv").read_text()
    assert train(f"--RESUME {finished}/last.pt -WORKERS 1") == 0
    shown = capsys.readouterr().out
    assert "-WORKERS 0 -> 1" in shown
    assert "This run is finished: its 1 epochs are done" in shown
    assert re.search(rf"Best AP \d+\.\d: {finished}/best.pt", shown)
    longer = re.search(r"To train longer.*\n +.*train_pose.py (.*)", shown)
    assert longer is not None
    assert longer[1].startswith(f"--RESUME {finished}/best.pt -COCO_ROOT ")
    assert (finished.parent / "results.csv").read_text() == before


def test_weights_only_start_a_new_run(
    train: Callable[..., int], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(f"-EXP second --RESUME {finished}/best.pt -EPOCH 1 -LR 1e-9 -EMA 0") == 0
    shown = capsys.readouterr().out
    assert "these are weights only, so a new run starts from them" in shown
    assert "the start is a model of ours" in shown
    first, second = (load_checkpoint(tmp_path / run / "weights" / "best.pt") for run in ("first", "second"))
    assert second["model_config"] == first["model_config"]
    for name, value in first["weights"].items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(second["weights"][name], value, atol=1e-5, rtol=0)


def backbone_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key.startswith("backbone.")}


def test_phases_resume_exactly(
    train: Callable[..., int], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in each phase, and just after the second began: that is saved with the second's fresh optimiser."""
    flags = f"--RESUME {finished}/best.pt -EPOCH 2 -FREEZE_EPOCHS 1 --SAVE"
    assert train(f"-EXP whole {flags}") == 0
    change = Trainer._change_phase

    def signalled(self: Trainer) -> None:
        change(self)
        if self.cursor.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    for step in (3, 4, 5):
        with monkeypatch.context() as context:
            if step == 4:
                context.setattr(Trainer, "_change_phase", signalled)
            else:
                stop_after(context, step)
            assert train(f"-EXP at-{step} {flags}") == 143
        last = tmp_path / f"at-{step}" / "weights" / "last.pt"
        assert load_checkpoint(last)["training"]["cursor"]["step"] == step
        assert train(f"--RESUME {last}") == 0
        assert_same_runs(tmp_path / "whole", tmp_path / f"at-{step}")


def test_a_frozen_backbone_stays_what_it_was(train: Callable[..., int], finished: Path, tmp_path: Path) -> None:
    """Its batch normalisation too; the heads learn, and in the second phase so does the backbone."""
    assert train(f"-EXP run --RESUME {finished}/best.pt -EPOCH 2 -FREEZE_EPOCHS 1 --SAVE -LR 1e-2") == 0
    run = tmp_path / "run" / "weights"
    start, first, second = (load_checkpoint(path)["weights"] for path in (
        finished / "best.pt", run / "epoch-001.pt", run / "epoch-002.pt"))  # fmt: skip
    assert_same(backbone_of(start), backbone_of(first))
    assert not torch.equal(start["norm_patches.weight"], first["norm_patches.weight"])
    moved = [key for key, value in backbone_of(first).items() if not torch.equal(value, second[key])]
    assert len(moved) > 0.8 * len(backbone_of(first))
    rows = rows_of(tmp_path / "run")
    assert [row["lr_backbone_first"] != "" for row in rows] == [False, True]


def test_what_tells_certainty_costs_nothing(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is trained as without it, to the bit, also where gradients are clipped."""
    assert train("-EXP with -CLIP 1") == 0
    describe = train_module.describe_model

    def without(*arguments: Any) -> Any:
        config, pretrained = describe(*arguments)
        return replace(config, certainty=False), pretrained

    monkeypatch.setattr(train_module, "describe_model", without)
    assert train("-EXP without -CLIP 1") == 0
    more, plain = (load_checkpoint(tmp_path / run / "weights" / "last.pt") for run in ("with", "without"))
    told = more["weights"].keys() - plain["weights"].keys()
    assert told and all(key.startswith("certainty.") for key in told)
    assert_same(plain["weights"], {key: value for key, value in more["weights"].items() if key not in told})
    monkeypatch.undo()
    rows = rows_of(tmp_path / "with")
    assert all(max(float(row[name]) for row in rows) > 0 for name in ("loss_visibility", "loss_sigma"))
    assert "loss_sigma" not in rows_of(tmp_path / "without")[-1]


def test_certainty_alone(train: Callable[..., int], finished: Path, tmp_path: Path) -> None:
    """Weights of before get it; all else stays, and what is kept is the newest."""
    old = load_checkpoint(finished / "best.pt")
    old["weights"] = {key: value for key, value in old["weights"].items() if not key.startswith("certainty.")}
    del old["model_config"]["certainty"]
    save_checkpoint(tmp_path / "old.pt", old)
    assert train(f"-EXP run --RESUME {tmp_path}/old.pt --CERTAINTY_ONLY -EPOCH 2") == 0
    rows = rows_of(tmp_path / "run")
    assert rows[0]["AP"] == rows[1]["AP"] and rows[0]["loss_sigma"] != rows[1]["loss_sigma"]
    best, last = (load_checkpoint(tmp_path / "run" / "weights" / name) for name in ("best.pt", "last.pt"))
    assert_same(best["weights"], last["weights"])
    assert best["model_config"]["certainty"] is True
    assert_same(old["weights"], {key: best["weights"][key] for key in old["weights"]})


def test_a_frozen_roi_keypoint_head(train: Callable[..., int], finished: Path, tmp_path: Path) -> None:
    assert train(f"-EXP run --RESUME {finished}/best.pt --FREEZE_ROI -EPOCH 1") == 0
    before = load_checkpoint(finished / "best.pt")["weights"]
    after = load_checkpoint(tmp_path / "run" / "weights" / "last.pt")["weights"]
    moved = {key.split(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert {"backbone", "head", "tokens"} <= moved and not moved & {"roi_head", "certainty"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-INIT scratch", "--CERTAINTY_ONLY would keep random weights as they are"),
        ("--RESUME {}/best.pt -MODEL sia_pose", "--CERTAINTY_ONLY needs weights of this -MODEL"),
        ("-PIPELINE nowhere", "--CERTAINTY_ONLY is for a training, not for a pipeline"),
        ("-FREEZE_EPOCHS 1", "Leave out -LORA, -FREEZE_EPOCHS and -BACKBONE"),
        ("--FREEZE_ROI", "--FREEZE_ROI trains what --CERTAINTY_ONLY keeps"),
    ],
)
def test_certainty_alone_needs_a_trained_model(
    train: Callable[..., int], finished: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    assert train(f"-EXP alone --CERTAINTY_ONLY {flags.format(finished)}") == 1
    assert message in capsys.readouterr().err


def test_adapters_resume_exactly_and_publish_plain_weights(
    train: Callable[..., int], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    flags = f"--RESUME {finished}/best.pt -LORA 2 -EPOCH 2 -FREEZE_EPOCHS 1 -EMA 0"
    assert train(f"-EXP whole {flags}") == 0
    with monkeypatch.context() as context:
        stop_after(context, 7)
        assert train(f"-EXP parts {flags}") == 143
    assert train(f"--RESUME {tmp_path}/parts/weights/last.pt") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    start, saved = load_checkpoint(finished / "best.pt"), load_checkpoint(tmp_path / "whole" / "weights" / "last.pt")
    assert saved["weights"].keys() == start["weights"].keys()
    moved = {k for k, v in backbone_of(start["weights"]).items() if not torch.equal(v, saved["weights"][k])}
    matrix = re.compile(r"backbone\.vit\.blocks\.\d\.(attn|mlp)\.\w+\.weight")
    assert moved
    assert all(matrix.fullmatch(key) for key in moved)
    monkeypatch.setitem(sys.modules, "peft", None)
    TorchRuntime.load(tmp_path / "whole" / "weights" / "best.pt", "cpu")
    assert train(f"-EXP plain --RESUME {tmp_path}/whole/weights/best.pt -EPOCH 1") == 0


def test_random_weights_are_not_frozen(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ("-LORA 2", "-FREEZE_EPOCHS 1"):
        assert train(f"-EXP run {flags}") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{flags} would keep random weights as they are" in line


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model_config": {}}, "doesn't describe a SIA Pose model"),
        ({"skeleton": {}}, "doesn't describe a SIA Pose model"),
        ({"training": {}}, "its training can't be continued: Object missing required field `config`"),
        ({"weights": [1]}, "holds no weights"),
        ({"weights": {"head.mean_pose": 3}}, "don't fit this model. missing: "),
    ],
)
def test_a_checkpoint_that_is_incomplete(
    train: Callable[..., int], finished: Path, capsys: pytest.CaptureFixture[str], parts: dict[str, Any], message: str
) -> None:
    save_checkpoint(finished / "broken.pt", {**load_checkpoint(finished / "best.pt"), **parts})
    assert train(f"-EXP second --RESUME {finished}/broken.pt") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_weights_at_another_input_size(train: Callable[..., int], finished: Path, tmp_path: Path) -> None:
    """Learned positions are interpolated to the new grid; everything else is taken over."""
    assert train(f"-EXP larger --RESUME {finished}/best.pt -IMGSZ 96x64 -EPOCH 1 -LR 1e-9 -EMA 0") == 0
    first, second = (load_checkpoint(tmp_path / run / "weights" / "best.pt") for run in ("first", "larger"))
    assert second["model_config"]["image_size"] == (96, 64)
    assert second["weights"]["backbone.grid"].tolist() == [6, 4]
    assert second["weights"]["backbone.native_side"] == max(first["weights"]["backbone.grid"]) != 6
    old, new = (saved["weights"]["backbone.vit.pos_embed"] for saved in (first, second))
    assert new.shape == (1, 24, old.shape[2])
    torch.testing.assert_close(new.mean(), old.mean(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-SIZE n16", "don't fit this model. .*missing: backbone.*Use the -SIZE"),
        ("-SIZE n16 -MODEL sia_pose", "don't fit this model. .*wrong shape: backbone.*Use the -SIZE"),
        ("-BACKBONE vit_tiny_patch16_224", "-BACKBONE and --RESUME both bring weights"),
    ],
)
def test_weights_of_another_model(
    train: Callable[..., int], finished: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    assert train(f"-EXP second --RESUME {finished}/best.pt {flags}") == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (finished.parents[1] / "second").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-MODEL sia_pos", "Did you mean"),
        ("-SIZE s17", "Did you mean 's16'"),
        ("-BACKBONE nothing.pt", "nothing.pt: no such file"),
        ("-BACKBONE vit_tinny_patch16_224", "vit_tiny_patch16_224"),
        ("-COCO_ROOT nowhere", "nowhere"),
        ("-TRAIN_ANN nowhere.json", "nowhere.json"),
        ("-OUTPUT /dev/null/runs", "/dev/null/runs"),
        ("-PRECISION fp16", "-PRECISION fp16 needs a CUDA GPU"),
        ("--RESUME nowhere.pt", "nowhere.pt: no such file. Check --RESUME."),
        ("--RESUME sia_pose-n61", "sia_pose-n61 is unknown. Did you mean sia_pose-n16"),
    ],
)
def test_bad_flags_are_one_line(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    assert train(f"-EXP run {flags}") == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_backbone_from_a_file(train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import timm

    path = tmp_path / "vit.pth"
    torch.save({"model": timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()}, path)
    assert train(f"-EXP run -EPOCH 1 -BS 8 -BACKBONE {path}") == 0
    shown = capsys.readouterr().out
    assert f"backbone from {path} (vit_tiny_patch16_224" in shown
    assert "0.8 (the start is pretrained)" in shown
    assert load_checkpoint(tmp_path / "run" / "weights" / "last.pt")["model_config"]["backbone"] is not None
    assert train(f"--RESUME {tmp_path}/run/weights/last.pt") == 0


def test_bf16_trains_on_a_cpu(train: Callable[..., int]) -> None:
    assert train("-EXP run -EPOCH 1 -BS 8 -PRECISION bf16 -MODEL sia_pose") == 0


def test_fp16_keeps_its_loss_scale(train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-PRECISION fp16 needs a GPU; its arithmetic and its loss scaling run on a CPU as well, slowly."""
    monkeypatch.setattr(plan, "choose_precision", lambda *_: (torch.float16, "a test"))
    assert train("-EXP whole -EPOCH 1 -IMGSZ 32") == 0
    with monkeypatch.context() as context:
        stop_after(context, 2)
        assert train("-EXP parts -EPOCH 1 -IMGSZ 32") == 143
    last = tmp_path / "parts" / "weights" / "last.pt"
    assert load_checkpoint(last)["training"]["scaler"]["scale"] > 0
    assert train(f"--RESUME {last}") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")


def test_choices_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(plan, "multiplies_bf16", lambda _, fast=fast: fast)
        assert choose_precision("auto", cpu)[0] == dtype
    with pytest.raises(ConfigError, match="fp16 needs"):
        choose_precision("fp16", cpu)
    monkeypatch.setattr(plan, "usable_cores", lambda: 6)
    assert choose_workers(None, 1) == 5
    assert choose_workers(None, 3) == 1
    assert choose_workers(None, 8) == 0
    assert choose_workers(7, 1) == 7


def test_the_parts_are_frozen(train: Callable[..., int]) -> None:
    """A configuration can't be changed behind the checkpoint's back."""
    from utils.config.builder import build_config

    config, _ = build_config({"model": "a", "coco_root": Path(), "train_ann": Path(), "val_ann": Path()})
    with pytest.raises(AttributeError):
        config.bs = 3  # type: ignore[misc]
    assert replace(config, bs=3).bs == 3
