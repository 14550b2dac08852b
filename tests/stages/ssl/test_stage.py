"""The semi-supervised stage on a few synthetic people: one forward, ramp, fall, resume, two processes, refusals."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.coco.coco_pose import CocoPose, mean_pose
from datasets.synthetic import write_dataset
from sia.errors import WeightsError
from sia.evaluation.coco_eval import Metrics
from sia.evaluation.predictions import Predictions
from sia.io.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model
from stages.baseline import FittedModel
from stages.ssl import stage as ssl
from stages.ssl.pseudo_batches import PseudoBatches
from stages.ssl.thresholds import ConfidenceThresholds, Gates, NoThresholdError
from stages.stage import Images, StageFit, StageInput, StageInterrupted
from stages.training import visualizer
from stages.training.trainer import Trainer
from tests.processes import together
from tests.stages.pose_helpers import stage_input
from tests.stages.training.test_train import assert_same, stop_after
from utils.config.declaration import AUGMENTATIONS
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext, init_distributed

OPEN = Gates(ConfidenceThresholds(0.0, 0.0, 1.0, 1, 1), ConfidenceThresholds(0.0, 0.0, 1.0, 1, 1), 0.0)
"""Lets everybody pass: a model with random weights is sure of nobody."""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 images: 8 with labels, 6 without; 3 of others; and a model with random weights."""
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 14, 3, 64, 0, 0)
    content = json.loads((folder / "train.json").read_text())
    images = content["images"][:8]
    ids = {image["id"] for image in images}
    rows = [row for row in content["annotations"] if row["image_id"] in ids and row["num_keypoints"]]
    (folder / "fit.json").write_text(json.dumps({**content, "images": images, "annotations": rows}))
    data = CocoPose(folder / "images" / "train", folder / "fit.json")
    torch.manual_seed(0)
    pose = tuple((float(x), float(y)) for x, y in mean_pose(data))
    config = ModelConfig("sia_pose_simple", "test", 17, (64, 64), pose, data.skeleton.sigmas)
    weights = create_model(config).state_dict()
    described = {"format": FORMAT, "model_config": config.to_dict(), "skeleton": data.skeleton.to_dict()}
    save_checkpoint(folder / "start.pt", {**described, "weights": weights, "metrics": {}})
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are drawn in tests of their own; here they would take most of the time."""
    prepare(monkeypatch.setattr)


def prepare(change: Callable[..., None]) -> None:
    change(visualizer.TrainingVisualizer, "epoch", lambda *_: None)
    change(visualizer.TrainingVisualizer, "training_batch", lambda *_: None)
    change(ssl, "training_batch_image", lambda *_, **__: None)
    change(ssl, "_gates", lambda _: OPEN)


def work_of(people: Path, folder: Path, ranks: DistributedContext | None = None, **flags: Any) -> StageInput:
    folder.mkdir(exist_ok=True)
    config = TrainConfig(
        model="sia_pose_simple", size="test", coco_root=people / "images", train_ann=people, val_ann=people,
        unlabelled=(str(people / "images" / "train"),), bs=4, workers=0, device="cpu", precision="fp32", ssl_epoch=2,
        eval_every=1,
    )  # fmt: skip
    splits = splits_in(people, {"fit": people / "fit.json", "calibrate": people / "val.json"})
    config = replace(config, **flags)
    return stage_input(folder, config, splits, None, people / "start.pt", print, ranks)


def splits_in(people: Path, splits: dict[str, Path]) -> dict[str, Path]:
    """The same with paths relative to the folder of all images."""
    moved = {}
    for name, path in splits.items():
        content = json.loads(path.read_text())
        split = "val" if path.stem == "val" else "train"
        for image in content["images"]:
            image["file_name"] = f"{split}/{Path(image['file_name']).name}"
        moved[name] = people / f"split-{name}.json"
        moved[name].write_text(json.dumps(content))
    return moved


def weights_of(made: StageFit) -> Path:
    assert isinstance(made.fitted, FittedModel)
    return made.fitted.weights


def last_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("training-*/weights/last.pt")
    return load_checkpoint(path)


def scripted(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Evaluations give these APs, one after the other."""
    evaluate, coming = Trainer._evaluate, iter(values)

    def measured(self: Trainer, *arguments: Any) -> Metrics:
        return replace(evaluate(self, *arguments), AP=next(coming))

    monkeypatch.setattr(Trainer, "_evaluate", measured)


@pytest.mark.usefixtures("quick")
def test_it_trains_and_predicts(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step: the teacher sees both views at once, the student the labelled batch, then all paths at once."""
    calls: list[tuple[bool, int]] = []
    forward = PoseModel.forward

    def watched(self: PoseModel, images: torch.Tensor, batch: Any = None) -> Any:
        calls.append((self.training, len(images)))
        return forward(self, images, batch)

    scripted(monkeypatch, 0.1, 0.2, 0.3)
    monkeypatch.setattr(PoseModel, "forward", watched)
    work = work_of(people, tmp_path / "ssl", freeze_epochs=3)  # of the baseline: this training has but 2 epochs
    result = ssl.fit(work)
    # in each step; the calls with 3 images are evaluations, the very first is the image of the first batch
    steps = [call for call in calls if call[1] != 3][1:]
    assert steps == [(False, 8), (True, 4), (True, 12)] * 4
    assert result.declined == ""
    assert load_checkpoint(weights_of(result))["metrics"]["epoch"] == 2
    assert result.figures["AP on calibrate before"] == 0.1
    assert result.figures["AP on calibrate after"] == 0.3
    assert result.figures["unlabelled images"] == 6
    assert "4.00 people an image were taught, and 0.00 regions ignored" in capsys.readouterr().out
    assert result.people is not None and result.fitted is not None
    assert len(result.people) > 3
    data = work.data("calibrate")
    again = result.fitted.apply(result.people.select(slice(0)), Images.of_split(data))
    assert len(again) == len(result.people)


@pytest.mark.usefixtures("quick")
def test_a_fall_stops_and_restores(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    finish = Trainer._finish_epoch

    def finished(self: Trainer, *arguments: Any) -> None:
        kept.append({name: value.clone() for name, value in self.state.ema.module.state_dict().items()})
        finish(self, *arguments)

    monkeypatch.setattr(Trainer, "_finish_epoch", finished)
    scripted(monkeypatch, 0.1, 0.2, 0.3, 0.25, 0.3, 0.1, *[0.9] * 9)
    result = ssl.fit(work_of(people, tmp_path / "ssl", ssl_epoch=9, unlabelled=(str(people / "images" / "train"),)))
    assert len(kept) == 5
    assert result.figures["epochs"] == 5
    assert result.figures["best epoch"] == 2
    assert_same(dict(load_checkpoint(weights_of(result))["weights"]), kept[1])


@pytest.mark.usefixtures("quick")
def test_never_better_than_the_start_is_declined(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.2, 0.1, 0.2)
    result = ssl.fit(work_of(people, tmp_path / "ssl"))
    assert "never rose above 20.00" in result.declined
    assert result.fitted is None
    assert result.figures["best epoch"] == 0


@pytest.mark.usefixtures("quick")
def test_a_stopped_training_goes_on_exactly(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch, and after its last step."""
    ssl.fit(work_of(people, tmp_path / "whole"))
    for step in (1, 2):
        work = work_of(people, tmp_path / f"at-{step}")
        with monkeypatch.context() as context:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore it
            stop_after(context, step, signal.SIGINT)
            with pytest.raises(StageInterrupted):
                ssl.fit(work)
        assert last_of(work.folder)["training"]["cursor"]["step"] == step
        torch.rand(7)  # whatever this process does meanwhile must not matter
        ssl.fit(work)
        whole, parts = last_of(tmp_path / "whole"), last_of(work.folder)
        for name in ("weights", "model_config"):
            assert_same(whole[name], parts[name])
        for name in ("model", "optimizer", "scheduler", "cursor", "random", "averaged_steps"):
            assert_same(whole["training"][name], parts["training"][name])


@pytest.mark.usefixtures("quick")
def test_other_flags_are_another_training(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ssl"
    ssl.fit(work_of(people, folder, ssl_epoch=1))
    steps: list[int] = []
    count = Trainer._count
    monkeypatch.setattr(Trainer, "_count", lambda self, *a: (steps.append(1), count(self, *a))[1])
    ssl.fit(work_of(people, folder, ssl_epoch=1, save_minutes=7.0))
    assert not steps  # found finished
    ssl.fit(work_of(people, folder, ssl_epoch=1, ssl_augmentations=("geometry",)))
    assert len(steps) == 2
    assert len(list(folder.glob("training-*"))) == 2


def test_the_ramp() -> None:
    source = PseudoBatches(None, None, OPEN, None, AUGMENTATIONS, device=None, dtype=None, highest=2.0, ramp=10)  # type: ignore[arg-type]
    assert source.weight(0) == pytest.approx(2 * math.exp(-5))
    assert [source.weight(step) for step in (10, 11, 500)] == [2.0] * 3
    weights = [source.weight(step) for step in range(12)]
    assert weights == sorted(weights)
    source.ramp = 0
    assert source.weight(0) == 2.0


@pytest.mark.usefixtures("quick")
def test_weight_and_share(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unlabelled losses are those of the criterion, times the weight, over the labelled people an image."""
    shares: list[Any] = []
    losses = Trainer._losses

    def watched(self: Trainer, share: Any) -> Any:
        statistics = [value.clone() for value in self._statistics]
        parts = losses(self, share)
        changed = any(not torch.equal(a, b) for a, b in zip(statistics, self._statistics, strict=True))
        shares.append((share, changed))
        return parts

    monkeypatch.setattr(Trainer, "_losses", watched)
    ssl.fit(work_of(people, tmp_path / "ssl", ssl_epoch=1, ssl_ramp=0.0, ssl_weight=0.5))
    for (labelled, _), (unlabelled, changed) in zip(shares[::2], shares[1::2], strict=True):
        assert (labelled.weight, unlabelled.weight) == (1.0, 0.5)
        people_a_image = labelled.batch.people.sum().item() / 4
        assert unlabelled.people == pytest.approx(12 * people_a_image)
        assert not changed


def body(rank: int, people: Path, folder: Path) -> tuple[Predictions, list[float], list[float]]:
    """One of two processes."""
    prepare(setattr)
    count, values, totals = Trainer._count, list[float](), list[float]()

    def counted(self: Trainer, losses: dict[str, float], images: int) -> None:
        values.append(sum(losses.values()))
        totals[:] = [float(p.detach().double().sum()) for p in self.state.model.parameters()]
        count(self, losses, images)

    Trainer._count = counted  # type: ignore[method-assign]
    scores = iter((0.1, 0.2))
    evaluate = Trainer._evaluate
    Trainer._evaluate = lambda self, *arguments: replace(evaluate(self, *arguments), AP=next(scores))  # type: ignore[method-assign]
    with init_distributed("cpu") as ranks:
        result = ssl.fit(work_of(people, folder, ranks, bs=2, ssl_epoch=1))
    assert result.people is not None
    return result.people, values, totals


def test_two_processes(people: Path, tmp_path: Path) -> None:
    (tmp_path / "ssl").mkdir()
    (first, losses, weights), (second, other_losses, other_weights) = together(2, body, people, tmp_path / "ssl")
    assert len(first) > 3 and first.image_ids.tolist() == second.image_ids.tolist() == sorted(first.image_ids.tolist())
    assert (first.keypoints == second.keypoints).all()
    assert len(losses) == len(other_losses) == 2
    assert all(map(math.isfinite, losses + other_losses))
    assert losses != other_losses  # each sees images of its own
    assert weights == other_weights  # and all move together


@pytest.mark.usefixtures("quick")
def test_what_it_declines(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_of(people, tmp_path / "ssl")
    assert "no weights" in ssl.fit(replace(work, weights=None)).declined
    assert "no unlabelled images (-UNLABELLED)" in ssl.fit(work_of(people, work.folder, unlabelled=())).declined

    def unsure(_: object) -> Gates:
        raise NoThresholdError("of the 5 people that the teacher sees")

    monkeypatch.setattr(ssl, "_gates", unsure)
    assert ssl.fit(work).declined == "of the 5 people that the teacher sees"
    assert not list(work.folder.iterdir())
    with pytest.raises(WeightsError, match="no such file"):
        ssl.fit(replace(work, weights=tmp_path / "nothing.pt"))


def test_a_random_model_is_believed_in_nothing(people: Path, tmp_path: Path) -> None:
    """The gates are really chosen."""
    reason = ssl.fit(work_of(people, tmp_path / "ssl")).declined
    assert "people that the teacher sees in the calibration images" in reason
    assert "70 % (-PSEUDO_PRECISION)" in reason
