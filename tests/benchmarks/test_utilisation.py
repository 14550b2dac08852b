"""The plan for a GPU: its FLOPs and bytes, and the same step measured on a CPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import utilisation


def test_a_step_is_at_least_three_forward_passes() -> None:
    from benchmarks.models import build, count_flops

    forward = count_flops(build("sia_pose_simple", "n16", 256), torch.zeros(1, 3, 256, 256, dtype=torch.uint8))
    step = utilisation.count_flops("sia_pose_simple", "n16", (256, 256))
    assert 3 * forward < step < 9 * forward  # in training, more people are looked at a second time


def test_bytes_grow_with_the_batch_and_the_input() -> None:
    small, wide = (utilisation.make_plan("sia_pose_simple", "test", (64, side), "all") for side in (64, 128))
    assert small.fixed < wide.fixed * 1.1
    assert small.image < wide.image < 2.5 * small.image  # the RoI refinement doesn't grow
    assert wide.batch_in(wide.fixed + 3.5 * wide.image) == 3
    assert wide.batch_in(wide.fixed / 2) == 0
    products, moves = wide.seconds(4, rate=wide.flops, bandwidth=wide.moved + 8 * wide.image)
    assert (products, moves) == (4, 1)


def test_a_plan_and_a_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--size", "test", "--imgsz", "64", "--batches", "1", "2"]
    assert utilisation.main([*flags, "--plan", "--memory", "1"]) == 0
    planned = capsys.readouterr().out
    assert "images in 1 GB" in planned
    assert utilisation.main([*flags, "--device", "cpu", "--sides", "32", "64"]) == 0
    measured = capsys.readouterr().out
    assert measured.count("%") == 2
    assert measured.split(" GFLOPs")[0] == planned.split(" GFLOPs")[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert utilisation.main([]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda can't be used: ")
