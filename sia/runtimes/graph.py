"""A model as one graph for other runtimes: images in, people in input pixels out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from sia.model import PoseModel
from sia.modules.postprocess import Decoded, decode
from sia.runtimes.resize import PortableResize

INPUT, OUTPUTS = "images", ("scores", "boxes", "keypoints")
"""Names of the graph's input and outputs."""

AXES = {0: "batch", 2: "height", 3: "width"}
"""Axes of the input that may have any length."""

SMALLEST_SIDE = 32
"""In pixels."""

_EXAMPLE = (13, 17)
"""Rows and columns of patches to trace with: unlike each other and any usual grid, so that no two seem to be one."""


class PoseGraph(nn.Module):
    """Normalisation, padding, model and decoding."""

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Finds people.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            scores (B, R), boxes (B, R, 4) x1 y1 x2 y2, keypoints (B, R, K, 3) x y confidence; input pixels, best first.
        """
        found = decode(self.model(images), (images.shape[-2], images.shape[-1]))
        return found.scores, found.boxes, torch.cat([found.keypoints, found.confidences[..., None]], dim=-1)


def decoded_from(outputs: Sequence[Tensor]) -> Decoded:
    """What `PoseGraph` returns, as the rest of the project takes it."""
    scores, boxes, keypoints = outputs
    return Decoded(scores, boxes, keypoints[..., :2], keypoints[..., 2])


def smallest_side(patch: int) -> int:
    """Least pixels along the input of a graph of any size; more than one patch, which can't be told from many."""
    return max(SMALLEST_SIDE, patch + 1)


def trace(model: PoseModel, fixed_size: tuple[int, int] | None = None) -> ExportedProgram:
    """The graph of any batch, and of any height and width unless they are fixed.

    Args:
        model: in inference mode, on the CPU.
        fixed_size: (H, W) where they have to be.

    Raises:
        torch._dynamo.exc.UserError: the backbone can't be traced for any size.
    """
    patch = model.backbone.patch
    height, width = fixed_size or (_EXAMPLE[0] * patch, _EXAMPLE[1] * patch)
    sides = {} if fixed_size else {axis: Dim(AXES[axis], min=smallest_side(patch)) for axis in (2, 3)}
    example = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    with torch.no_grad(), PortableResize(), quiet():
        return export(
            PoseGraph(model).eval(),
            (example,),
            dynamic_shapes=({0: Dim(AXES[0]), **sides},),
            prefer_deferred_runtime_asserts_over_guards=True,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's own notes from the user: the check afterwards says whether the file is right."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
