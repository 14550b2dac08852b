"""The table of costs: counted without computing, the RoI refinement at a person included."""

from __future__ import annotations

import pytest
import torch

from benchmarks import models
from benchmarks.common import MODELS, SIZES, launch
from benchmarks.workload import count_flops
from sia.backbones import build
from sia.registry import MODELS as VARIANTS


def test_a_line_for_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--sizes", "n16", "--sides", "64", "96", "--runs", "1"]
    assert launch("", models.add_flags, models.run, flags) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| n16")]
    assert len(lines) == 6
    assert [line.split("`")[1] for line in lines[:3]] == list(VARIANTS) == list(MODELS)
    for line in lines:
        assert all(float(cell) > 0 for cell in line.split("|")[3:-1])


def test_the_sizes_are_those_of_the_backbone() -> None:
    assert [*SIZES, "test"] == list(build.SIZES)


@pytest.mark.parametrize("name", MODELS)
def test_one_person_is_looked_at_whatever_the_weights(name: str) -> None:
    model = models.build(name, "test", 64)
    looked = []
    model.roi_head.register_forward_hook(lambda module, given, made: looked.append(len(made.heatmaps.rois.row)))
    for parameter in model.parameters():  # everybody is as likely as can be
        parameter.copy_(parameter.abs())
    model(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert looked == [1] * (2 if name == "sia_pose" else 1)  # crops


def test_counting_without_numbers_is_counting() -> None:
    model = models.build("sia_pose_simple", "test", 64)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    counted = count_flops(lambda: model(image))
    assert models.count("sia_pose_simple", "test", 64).flops == counted
