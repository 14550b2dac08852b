"""The table of detection tokens: whom they reach, and that more of them reach more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import tokens
from benchmarks.train_step import make_batch
from tests.benchmarks.test_looks import drawn_photographs
from tests.inference_helpers import save_weights


def test_more_tokens_reach_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "REACHED", 0.01)  # random weights hardly reach anybody
    photographs = drawn_photographs(tmp_path)
    weights = save_weights(tmp_path / "model.pt")
    flags = ["--weight_path", str(weights), "--photographs", str(photographs), "--counts", "1", "16", "--alike", "1"]
    assert tokens.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    one, all_ = ([float(cell.strip(" %")) for cell in line.strip("|").split("|")] for line in lines)
    assert one[:2] + all_[:2] == [1, 1, 16, 1]
    assert one[2] < all_[2]


def test_only_labelled_people_can_be_reached() -> None:
    batch = make_batch(3, (64, 64), 2, 0)
    batch.boxes[:] = torch.tensor([[0.0, 0, 32, 32], [32, 32, 64, 64]])
    there = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 0.2, 0.2]]).expand(3, 2, 4)
    batch.people[:], batch.keypoints[..., 2] = True, 2
    assert tokens.reached(there, batch) == (3, 6)
    batch.keypoints[:, 0, :, 2] = 0
    assert tokens.reached(there, batch) == (0, 3)
