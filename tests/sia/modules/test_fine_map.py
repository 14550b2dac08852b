"""The stride-8 map that keypoints are read from."""

from __future__ import annotations

import pytest
import torch

from sia.modules.fine_map import FineMap


@pytest.mark.parametrize("stem_dim", [0, 8])
def test_it_has_twice_the_resolution_of_the_patches(stem_dim):
    stem = torch.randn(1, stem_dim, 8, 12) if stem_dim else None
    assert FineMap(24, stem_dim, 16)(torch.randn(1, 24, 4, 6), stem).shape == (1, 16, 8, 12)


def test_the_stem_is_read_where_there_is_one():
    stem = torch.randn(1, 6, 8, 16, requires_grad=True)
    FineMap(24, 6, 16)(torch.randn(1, 24, 4, 8), stem).sum().backward()
    assert stem.grad is not None
    assert stem.grad.any()
