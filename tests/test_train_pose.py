"""train_pose.py in processes of its own: torchrun, two gloo ranks, kills and signals."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import train_pose
from datasets.synthetic import write_dataset
from sia import model
from sia.io.bundled_weights import bundled_models
from sia.io.checkpoint import load_checkpoint
from sia.losses.criterion import PoseCriterion
from sia.modules import detection_tokens as tokens
from sia.runtimes.torch_runtime import TorchRuntime
from stages.training import initialization as starting
from stages.training import visualizer
from stages.training.initialization import Pretrained
from stages.training.trainer import Trainer
from tests import processes
from tests.processes import finish

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 4, 2, 64, 0, 0)
    return folder


@pytest.fixture
def flags(people: Path, tmp_path: Path) -> str:
    return flags_for(people, tmp_path)


def flags_for(people: Path, output: Path) -> str:
    data = f"-COCO_ROOT {people}/images -TRAIN_ANN {people}/train.json -VAL_ANN {people}/val.json"
    return f"-MODEL sia_pose_simple -SIZE test -IMGSZ 64 -WORKERS 0 -DEVICE cpu -OUTPUT {output} {data}"


TWO_EPOCHS = "-BS 1 -EPOCH 2"
"""Of 2 steps on two ranks."""

PHASES = "-BS 1 -EPOCH 2 -FREEZE_EPOCHS 1 -BACKBONE test_vit -PRECISION fp32"
"""First the heads alone, then the backbone too."""


@pytest.fixture(scope="module")
def unbroken(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two ranks that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert finish(start(2, f"{flags_for(people, folder)} {TWO_EPOCHS} -EXP whole")) == [0, 0]
    return folder / "whole"


@pytest.fixture(scope="module")
def phases(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, in two phases."""
    folder = tmp_path_factory.mktemp("phases")
    assert finish(start(2, f"{flags_for(people, folder)} {PHASES} -EXP whole", with_vit)) == [0, 0]
    return folder / "whole"


def train(rank: int, argv: str, before: Callable[[int], None] | None) -> int:
    """One of torchrun's processes; it draws nothing."""
    visualizer.TrainingVisualizer.epoch = lambda *_: None  # type: ignore[method-assign]
    visualizer.TrainingVisualizer.training_batch = lambda *_: None  # type: ignore[method-assign]
    if before:
        before(rank)
    return train_pose.main(argv.split())


def start(world: int, argv: str, before: Callable[[int], None] | None = None) -> list[BaseProcess]:
    """Starts the training on so many processes; `before` may change parts of each first."""
    return processes.start(world, train, argv, before)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def state_of(folder: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(folder / "weights" / "last.pt")
    training = checkpoint["training"]
    training["cursor"].pop("seconds")
    return {"weights": checkpoint["weights"], **{key: training[key] for key in training if key != "config"}}


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flatten(part, f"{path}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, part in enumerate(value) for k, v in flatten(part, f"{path}/{i}").items()}
    return {path: value}


def assert_same(a: Path, b: Path) -> None:
    left, right = flatten(state_of(a)), flatten(state_of(b))
    assert left.keys() == right.keys()
    for key, value in left.items():
        same = torch.equal(value, right[key]) if isinstance(value, torch.Tensor) else value == right[key]
        assert same, key


def interrupted(rank: int) -> None:
    count = Trainer._count

    def counted(self: Trainer, *arguments: Any) -> None:
        count(self, *arguments)
        if rank == 1 and self.cursor.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    Trainer._count = counted  # type: ignore[method-assign]


def test_two_ranks_resume_exactly(flags: str, unbroken: Path, tmp_path: Path) -> None:
    """2 ranks, 2 steps an epoch; one rank gets a signal in step 3, and both stop."""
    assert finish(start(2, f"{flags} {TWO_EPOCHS} -EXP parts", interrupted)) == [143, 143]
    assert state_of(tmp_path / "parts")["cursor"]["step"] == 3
    assert finish(start(2, f"--RESUME {tmp_path}/parts/weights/last.pt")) == [0, 0]
    assert_same(unbroken, tmp_path / "parts")
    assert rows_of(unbroken) == rows_of(tmp_path / "parts")
    ranks = state_of(unbroken)["random"]
    assert len(ranks) == 2
    assert not torch.equal(ranks[0]["torch"], ranks[1]["torch"])


def test_shared_out_weights_learn_like_whole_ones(flags: str, tmp_path: Path) -> None:
    """-PARALLEL fsdp on two ranks: losses and weights of DDP, exact resume, and a checkpoint like any other."""
    schedule = f"{flags} {TWO_EPOCHS} -PRECISION fp32"
    both = [start(2, f"{schedule} -EXP whole"), start(2, f"{schedule} -EXP parts -PARALLEL fsdp")]
    assert [finish(each) for each in both] == [[0, 0], [0, 0]]
    for left, right in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "parts"), strict=True):
        for name, value in left.items():
            assert float(right[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name
    for part in ("weights", "optimizer", "model"):
        left, right = (flatten(state_of(tmp_path / name)[part]) for name in ("whole", "parts"))
        assert left.keys() == right.keys()
        for name, value in left.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(right[name], value, rtol=2e-2, atol=2e-3, msg=name)
    stopped = start(2, f"{schedule} -EXP stopped -PARALLEL fsdp", interrupted)
    assert finish(stopped) == [143, 143]
    assert finish(start(2, f"--RESUME {tmp_path}/stopped/weights/last.pt")) == [0, 0]
    assert_same(tmp_path / "parts", tmp_path / "stopped")
    TorchRuntime.load(tmp_path / "parts" / "weights" / "best.pt", "cpu")


def test_shared_out_weights_across_phases(flags: str, phases: Path, tmp_path: Path) -> None:
    assert finish(start(2, f"{flags} {PHASES} -EXP parts -PARALLEL fsdp", with_vit)) == [0, 0]
    left, right = rows_of(phases), rows_of(tmp_path / "parts")
    assert [float(row["loss"]) for row in right] == pytest.approx([float(row["loss"]) for row in left], rel=1e-3)


class OneGroup(nn.GroupNorm):
    """In the place of batch normalisation, which sees only its own part of a batch."""

    def __init__(self, width: int) -> None:
        super().__init__(1, width)


def with_vit(rank: int) -> None:
    torch.manual_seed(0)
    nn.BatchNorm2d = OneGroup  # type: ignore[assignment,misc]
    model.SHIFT = model.GROWTH = 0.0
    weights = timm.create_model("test_vit", num_classes=0, img_size=64).state_dict()
    tokens.REFERENCE_NOISE = 0.0
    starting.load_pretrained = lambda name: Pretrained(name, weights, "a test", True)


def interrupted_vit(rank: int) -> None:
    with_vit(rank)
    interrupted(rank)


def test_two_ranks_resume_exactly_across_phases(flags: str, phases: Path, tmp_path: Path) -> None:
    """2 steps with the backbone frozen and one with it, then a signal; no rank waits for a gradient in vain."""
    assert finish(start(2, f"{flags} {PHASES} -EXP parts", interrupted_vit)) == [143, 143]
    assert state_of(tmp_path / "parts")["cursor"]["step"] == 3
    assert finish(start(2, f"--RESUME {tmp_path}/parts/weights/last.pt", with_vit)) == [0, 0]
    assert_same(phases, tmp_path / "parts")


def test_a_step_is_the_same_however_it_is_divided(flags: str, tmp_path: Path) -> None:
    """4 images: one batch, two batches in a row, or two ranks give one loss and one gradient.

    Without batch normalisation, which sees its own part of a batch only, and noise, which each rank draws for itself.
    """
    common = f"{flags} -EPOCH 1 -BACKBONE test_vit -CLIP 0 -LR 1e-5 -PRECISION fp32"
    divided = {"one": (1, "-BS 4"), "accumulated": (1, "-BS 2 -ACCUM 2"), "ranks": (2, "-BS 2")}
    gradients, losses = [], []
    for name, (world, batch) in divided.items():
        assert set(finish(start(world, f"{common} {batch} -EXP {name}", with_vit))) == {0}
        saved = state_of(tmp_path / name)["optimizer"]["state"]
        gradients.append(torch.cat([saved[i]["exp_avg"].flatten() for i in sorted(saved)]))
        losses.append(float((tmp_path / name / "results.csv").read_text().splitlines()[1].split(",")[3]))
    for gradient, loss in zip(gradients[1:], losses[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-4)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))


def spoiled(rank: int) -> None:
    forward = PoseCriterion.forward

    def bad(self: PoseCriterion, *arguments: Any) -> dict[str, torch.Tensor]:
        losses = forward(self, *arguments)
        return {**losses, "oks": losses["oks"] / 0} if rank == 1 else losses

    PoseCriterion.forward = bad  # type: ignore[method-assign]


def test_a_bad_loss_on_one_rank_stops_both(flags: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert finish(start(2, f"{flags} -BS 2 -EPOCH 2 -EXP run", spoiled)) == [1, 1]
    message = capfd.readouterr().err
    assert "oks inf" in message or "oks nan" in message
    assert ".jpg" in message
    assert "Traceback" not in message


def test_a_image_that_one_rank_can_not_read_stops_both(
    flags: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "broken"
    write_dataset(folder, 4, 2, 64, 0, 0)
    (folder / "images" / "train" / "000001.jpg").write_bytes(b"not an image")
    argv = flags.replace(flags.split("-COCO_ROOT ")[1].split("/images")[0], str(folder))
    assert finish(start(2, f"{argv} -BS 2 -EPOCH 1 -MOSAIC 0 -EXP run")) == [1, 1]
    message = capfd.readouterr().err
    assert "000001.jpg" in message
    assert "Traceback" not in message


def test_a_real_signal_saves(flags: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = start(1, f"{flags} -BS 2 -EPOCH 100000 -EVAL_EVERY 100000 -EXP run")[0]
    _wait_for(tmp_path / "run" / "results.csv")
    os.kill(process.pid or 0, signal.SIGTERM)
    assert finish([process]) == [143]
    assert f"--RESUME {tmp_path}/run/weights/last.pt" in capfd.readouterr().out
    assert state_of(tmp_path / "run")["cursor"]["step"] > 0


def test_a_kill_at_any_moment_leaves_a_run_to_continue(flags: str, tmp_path: Path) -> None:
    """Saves after every step, so that a kill likely meets one."""
    argv = f"{flags} -BS 2 -EPOCH 100000 -EVAL_EVERY 100000 -SAVE_MINUTES 0 -EXP run"
    for attempt in range(3):
        process = start(1, argv if attempt == 0 else f"--RESUME {tmp_path}/run/weights/last.pt")[0]
        before = state_of(tmp_path / "run")["cursor"]["step"] if attempt else 0
        deadline = time.monotonic() + 60
        while not _saved_after(tmp_path / "run", before):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid or 0, signal.SIGKILL)
        assert finish([process]) == [-signal.SIGKILL]
    assert not (tmp_path / "run-2").exists()


def _saved_after(folder: Path, step: int) -> bool:
    return (folder / "weights" / "last.pt").is_file() and state_of(folder)["cursor"]["step"] > step


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_torchrun(flags: str, tmp_path: Path) -> None:
    """The real thing: two processes, one step, every file of a run folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train_pose.py"]
    done = subprocess.run(
        [*command, *flags.split(), "-BS", "2", "-EPOCH", "1", "-EXP", "run", "--SAVE"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = ["config.json", "environment.json", "results.csv", "results.png", "train_batch.jpg",
             "val_labels_predictions.jpg", "weights/best.pt", "weights/epoch-001.pt", "weights/last.pt"]  # fmt: skip
    for name in files:
        assert (tmp_path / "run" / name).stat().st_size > 0
        assert str(tmp_path / "run" / name) in done.stdout
    assert "4 = 2 (-BS) x 1 (-ACCUM) x 2 (processes)" in done.stdout
    assert "inference_image_pose.py --image_path" in done.stdout
    assert "AP50" in done.stdout
    assert "Warning" not in done.stderr


KILLED = """
import os, signal, sys
import train_pose
from stages.training import visualizer
from stages.training.trainer import Trainer

visualizer.TrainingVisualizer.epoch = visualizer.TrainingVisualizer.training_batch = lambda *_: None
count = Trainer._count

def counted(self, *arguments):
    count(self, *arguments)
    if (os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"], self.cursor.step) == ("0", "1", 3):
        os.kill(os.getpid(), signal.SIGKILL)

Trainer._count = counted
sys.exit(train_pose.main())
"""


def test_torchrun_goes_on_after_a_process_was_killed(flags: str, unbroken: Path, tmp_path: Path) -> None:
    """SIGKILL of one of two processes in the second epoch; torchrun's one restart ends like an unbroken run."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1"]
    done = subprocess.run(
        [*command, str(script), *flags.split(), *TWO_EPOCHS.split(), "-EXP", "killed"], cwd=ROOT, text=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr and "resumed       at epoch 2" in done.stdout
    assert_same(unbroken, tmp_path / "killed")
    assert rows_of(unbroken) == rows_of(tmp_path / "killed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "killed.py"]


def test_flags_are_checked_before_anything_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "train_pose.py", "-EPO", "5"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: flag -EPO is unknown. Did you mean -EPOCH")
    assert len(done.stderr.splitlines()) == 1


def test_weights_to_start_from_have_a_name() -> None:
    given = train_pose.check_command(["--RESUME", "sia_pose-n32"])
    assert given["resume"] == bundled_models()["sia_pose-n32"]
