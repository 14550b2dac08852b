"""Sizes that follow from the names and shapes in a file of others."""

from __future__ import annotations

import torch

from stages.ensemble.experts.published import depth_of


def test_a_number_in_a_name_is_no_depth() -> None:
    """A model of 10^12 layers would be built for ever before it is refused."""
    weights = {f"blocks.{number}.weight": torch.ones(1) for number in (0, 1, 10**12)}
    assert depth_of(weights, "blocks") == 3
    assert depth_of({}, "blocks") == 0
