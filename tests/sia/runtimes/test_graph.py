"""Models become graphs of any batch and size. For others see test_without_torch.py and test_export.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sia.registry import MODELS, create_model
from sia.runtimes.graph import PortableResize, PoseGraph, resize_bicubic, trace

ELSEWHERE = ("sia_pose", "sia_pose_simple")


@pytest.mark.parametrize(
    ("name", "size", "scale"),
    [*((name, "test", 1) for name in MODELS if name not in ELSEWHERE), ("sia_pose_simple", "n32", 3)],
)
def test_every_model_can_be_traced_for_any_size(name, size, scale, make_config):
    model = create_model(make_config(name, size=size)).eval()
    program = trace(model)
    for batch, height, width in ((1, 64, 96), (3, 130, 77)):
        images = torch.randint(0, 256, (batch, 3, scale * height, scale * width), dtype=torch.uint8)
        with torch.no_grad():
            found, expected = program.module()(images), PoseGraph(model)(images)
        for part, wanted in zip(found, expected, strict=True):
            assert torch.allclose(part, wanted, atol=1e-3)


@pytest.mark.parametrize("size", [(8, 6), (13, 17), (5, 20), (3, 2), (2, 9)])
def test_the_same_interpolation_as_torch(size):
    values = torch.randn(2, 5, 8, 6)
    expected = F.interpolate(values, size=size, mode="bicubic", antialias=True)
    assert torch.allclose(resize_bicubic(values, size), expected, atol=1e-5)
    with PortableResize():
        inside = F.interpolate(values, size=size, mode="bicubic", antialias=True)
    assert torch.equal(inside, resize_bicubic(values, size))


def test_other_interpolations_are_left_alone():
    values = torch.randn(1, 2, 4, 4)
    for options in ({"mode": "bilinear", "antialias": True}, {"mode": "bicubic"}, {"mode": "nearest"}):
        with PortableResize():
            inside = F.interpolate(values, size=(7, 5), **options)
        assert torch.equal(inside, F.interpolate(values, size=(7, 5), **options))
