"""Models become graphs of any batch and size. For sia_pose (and sia_pose_simple in it) see scripts/test_export.py."""

from __future__ import annotations

import pytest
import torch

from sia.modules.postprocess import decode
from sia.registry import create_model, list_models
from sia.runtimes.graph import PoseGraph, decoded_from, trace

ELSEWHERE = ("sia_pose", "sia_pose_simple")


def test_the_graph_returns_what_decode_does(make_config):
    model = create_model(make_config()).eval()
    images = torch.randint(0, 256, (2, 3, 70, 101), dtype=torch.uint8)
    with torch.no_grad():
        outputs, expected = PoseGraph(model)(images), decode(model(images), (70, 101))
    for part, wanted in zip(decoded_from(outputs), expected, strict=True):
        assert torch.equal(part, wanted)


@pytest.mark.parametrize(
    ("name", "size", "scale"),
    [
        *((name, "test", 1) for name in list_models() if name not in ELSEWHERE),
        ("sia_pose_simple", "n32", 3),
        ("sia_pose_simple", "n16", 2),
    ],
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
