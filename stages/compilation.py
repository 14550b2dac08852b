"""Compiled blocks: --COMPILE."""

from __future__ import annotations

import torch

from sia.model import PoseModel
from utils.errors import ConfigError, first_line


def compile_blocks(model: PoseModel, device: torch.device) -> None:
    """Lets `torch.compile` fuse what lies between the products of the backbone's blocks, when they first run.

    The blocks alone: they share their code, so it is compiled once, and their shapes are the same in every step.
    A copy of the model (the average of its weights) isn't compiled.

    Args:
        model: changed in place; its weights keep their names.
        device: where it will run.

    Raises:
        ConfigError: there is no compiler for the device.
    """
    try:
        torch.compile(torch.nn.Sigmoid(), fullgraph=True)(torch.zeros(8, device=device))
    except Exception as error:  # of several libraries, each with errors of its own
        raise ConfigError(
            f"--COMPILE found no working compiler ({first_line(error)}). It needs a C++ compiler on a CPU, Triton on a "
            "GPU. Install it, or leave out --COMPILE."
        ) from error
    for block in model.backbone.vit.blocks:
        block.compile()
