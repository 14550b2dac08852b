"""Compiled blocks: --COMPILE."""

from __future__ import annotations

import torch

from sia.errors import ConfigError, first_line
from sia.model import PoseModel


def check_compiler(device: torch.device, flag: str = "--COMPILE") -> None:
    """Compiles a trifle for a flag, so that a missing compiler is known before anything is read.

    Raises:
        ConfigError: there is no compiler for the device.
    """
    try:
        torch.compile(torch.nn.Sigmoid(), fullgraph=True)(torch.zeros(8, device=device))
    except Exception as error:  # of several libraries, each with errors of its own
        raise ConfigError(
            f"{flag} found no working compiler ({first_line(error)}). It needs a C++ compiler on a CPU, Triton on a "
            f"GPU. Install it, or leave out {flag}."
        ) from error


def compile_blocks(model: PoseModel) -> None:
    """Lets `torch.compile` fuse what lies between the products of the backbone's blocks, when they first run.

    The blocks alone: they share their code, which is compiled a few times, not for each. Plain ones that tokens join
    are run by `sia.modules.one_way_attention`, which isn't compiled.
    The model's weights keep their names, and a copy of it (the average of its weights) isn't compiled.
    """
    for block in model.backbone.vit.blocks:
        block.compile()
