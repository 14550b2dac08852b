"""The table of costs: counted without computing, the RoI refinement at a person included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import models
from sia.registry import list_models


def test_a_line_for_every_variant(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    assert models.main(["--sizes", "n16", "--sides", "64", "96", "--runs", "1", "--output", str(file)]) == 0
    lines = [line for line in file.read_text().splitlines() if line.startswith("| n16")]
    assert [line.split("`")[1] for line in lines] == list(list_models())
    for line in lines:
        assert all(float(cell) > 0 for cell in line.split("|")[3:-1])


@pytest.mark.parametrize("name", list_models())
def test_one_person_is_looked_at_whatever_the_weights(name: str) -> None:
    model = models.build(name, "test", 64)
    looked = []
    model.roi_head.register_forward_hook(lambda module, given, made: looked.append(len(made.places.squares.row)))
    for parameter in model.parameters():  # everybody is as likely as can be
        parameter.copy_(parameter.abs())
    model(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert looked == [1]


def test_counting_without_numbers_is_counting() -> None:
    model = models.build("sia_pose_simple", "test", 64)
    counted = models.count_flops(model, torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert models.count("sia_pose_simple", "test", 64).flops == counted
