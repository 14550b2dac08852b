from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sia.runtimes.resize import PortableResize, resize_bicubic


@pytest.mark.parametrize("size", [(8, 6), (13, 17), (5, 20), (3, 2), (2, 9)])
def test_the_same_as_torch(size):
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
