"""The ablations: each changes what it names, and is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import stages.training.train
from benchmarks import ablations
from benchmarks.train_step import make_batch, make_training
from sia.io.checkpoint import load_checkpoint
from sia.io.output_file import write_json
from sia.model import PoseModel
from sia.modules.detection_tokens import DetectionTokens
from sia.registry import WIDTHS
from sia.sia_vision import ResidualUnit

RUNS = "test-64-20x6"
SMALL = "--images 20 --side 64 --epochs 6 --size test --rows"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the first row is trained once."""
    return tmp_path_factory.mktemp("ablations")


@pytest.mark.parametrize("number", range(1, len(ablations.ROWS)))
def test_each_row_trains(number: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablations.main([*SMALL.split(), str(number), "--output", str(folder)]) == 0
    assert f"| {ablations.ROWS[number].name} |" in capsys.readouterr().out
    files = [folder / RUNS / f"row-{n}-seed0" / "weights" / "best.pt" for n in (0, number)]
    first, other = (load_checkpoint(file)["weights"] for file in files)
    assert any(not torch.equal(first[key], other[key]) for key in first)  # what it takes away was at work


def test_a_patch_ends_with_its_training() -> None:
    unit, x = ResidualUnit(8).eval(), torch.rand(1, 8, 4, 4)
    torch.nn.init.ones_(unit.norm2.weight)
    with ablations._plain_stem():
        assert torch.equal(unit(x), x)
    assert not torch.equal(unit(x), x)
    with ablations._one_more_group():
        assert WIDTHS["n16"].groups == 2
    assert WIDTHS["n16"].groups == 1


@pytest.mark.parametrize("patch", [ablations._denoise, ablations._masked_first])
def test_patches_of_two_places_end_together(patch: ablations.Patch) -> None:
    def places() -> list[object]:
        start = stages.training.train.__dict__
        return [PoseModel.forward, DetectionTokens.forward, start["build_model"], start["describe_model"]]

    before = places()
    with pytest.raises(ZeroDivisionError), patch():
        assert places() != before
        _ = 1 / 0
    assert places() == before


def test_true_people_start_a_group_of_their_own() -> None:
    training, batch = make_training("fp32", "sia_pose_simple", "test", (64, 64), 0), make_batch(2, (64, 64), 2, 0)
    groups = WIDTHS["test"].groups
    assert training.model(batch.images, batch).matched.shape[1] == groups
    with ablations._denoise():
        assert training.model(batch.images, batch).matched.shape[1] == groups + 1


def test_passes_that_cannot_be_shared_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ablations.main(["--output", str(folder), "--epochs", "4"])
    assert "4 is no multiple of 3" in capsys.readouterr().err


def test_rows_that_are_there_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations.train_pose, "main", lambda _: pytest.fail("it trained"))
    for number, gain in ((0, 0.0), (5, 1.5)):
        for seed in (0, 1):
            found = {"AP": 1.0, "AP50": 4 + seed + gain, "AR": 2.0, "seconds": 9.0}
            (tmp_path / RUNS).mkdir(exist_ok=True)
            write_json(tmp_path / RUNS / f"row-{number}-seed{seed}.json", found)
    flags = [*SMALL.split(), "5", "--seeds", "0", "1", "--output", str(tmp_path)]
    assert ablations.main(flags) == 0
    assert "| 1.0 | 6.0 | 2.0 | +1.5, +1.5 | 9 |" in (tmp_path / RUNS / "table.md").read_text()
