"""A model as one graph for other runtimes: images in, people in input pixels out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.overrides import TorchFunctionMode

from sia.model import PoseModel
from sia.modules.postprocess import decode
from sia.runtimes.metadata import smallest_side

AXES = {0: "batch", 2: "height", 3: "width"}
"""Axes of the input that may have any length."""

_EXAMPLE = (13, 17)
"""Rows and columns of patches to trace with: unlike each other and any usual grid, so that no two seem to be one."""

SHARPNESS = -0.5
"""The cubic's parameter in torch's antialiased interpolation, that of Pillow."""


class PoseGraph(nn.Module):
    """Normalisation, padding, model and decoding."""

    def __init__(self, model: PoseModel, blocks: Sequence[slice] = ()) -> None:
        """blocks: see `decode`."""
        super().__init__()
        self.model, self.blocks = model, blocks

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) uint8 RGB -> what `sia.runtimes.runtime.Decoded` describes."""
        return decode(self.model(images), (images.shape[-2], images.shape[-1]), self.blocks)


def trace(model: PoseModel, fixed_size: tuple[int, int] | None = None, blocks: Sequence[slice] = ()) -> ExportedProgram:
    """The graph of any batch, and of any height and width unless they are fixed.

    Args:
        model: in inference mode, on the CPU.
        fixed_size: (H, W) where they have to be.
        blocks: see `decode`.

    Raises:
        torch._dynamo.exc.UserError: the backbone can't be traced for any size.
    """
    patch = model.backbone.patch
    height, width = fixed_size or (_EXAMPLE[0] * patch, _EXAMPLE[1] * patch)
    sides = {} if fixed_size else {axis: Dim(AXES[axis], min=smallest_side(patch)) for axis in (2, 3)}
    example = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    with torch.no_grad(), PortableResize(), quiet():
        return export(
            PoseGraph(model, blocks).eval(),
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


class PortableResize(TorchFunctionMode):
    """Inside this context, learned positions are interpolated by `resize_bicubic`, so the grid may stay unknown."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replaces the antialiased bicubic interpolation only."""
        options = kwargs or {}
        if func is F.interpolate and options.get("mode") == "bicubic" and options.get("antialias"):
            return resize_bicubic(args[0], options["size"])
        return func(*args, **options)


def resize_bicubic(values: Tensor, size: Sequence[int]) -> Tensor:
    """values (B, C, h, w) -> (B, C, H, W), as F.interpolate(..., mode="bicubic", antialias=True) does it."""
    rows, columns = (_weights(old, new, values) for old, new in zip(values.shape[2:], size, strict=True))
    resized: Tensor = rows @ values @ columns.T
    return resized


def _weights(old: int, new: int, like: Tensor) -> Tensor:
    """(new, old) fraction of each old cell in each new one; the identity where the sizes agree."""
    centres = (torch.arange(new, dtype=like.dtype, device=like.device)[:, None] + 0.5) * (old / new)
    cells = torch.arange(old, dtype=like.dtype, device=like.device) + 0.5
    width: Any = torch.sym_max(old / new, 1.0)
    shares = _cubic((cells - centres).abs() / width)
    return shares / shares.sum(1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Keys, Cubic convolution interpolation (1981), equation 4, with the parameter free."""
    a = SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance.square() + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
