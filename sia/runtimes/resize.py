"""Bicubic interpolation as two products of matrices: what other runtimes lack, in operations that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SHARPNESS = -0.5
"""The cubic's parameter in torch's antialiased interpolation, that of Pillow."""


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
