"""Trains a pose estimator: flags, a validated configuration, and the stage that does the work.

One process: ``python train_pose.py -MODEL sia_pose_simple -COCO_ROOT ... -TRAIN_ANN ... -VAL_ANN ...``
Several:     ``torchrun --nproc_per_node=4 train_pose.py ...``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from utils.checkpoint import load_checkpoint
from utils.config import TrainConfig, build_config, parse_flags
from utils.errors import SiaError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage.

    Returns:
        The exit status: 0; 1 after an error; 130 or 143 after Ctrl-C or SIGTERM, with everything saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        given = parse_flags(arguments)
        checkpoint = load_checkpoint(given["resume"]) if given.get("resume") else None
        config, changes = configure(given, checkpoint)
        from stages import baseline  # after the flags: a wrong one is answered at once, without loading all of torch

        start = baseline.Start(checkpoint, tuple(changes), ("train_pose.py", *arguments))
        number = {"baseline": baseline.run}[config.stage](config, start)
    except SiaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 128 + number if number else 0


def configure(given: dict[str, Any], checkpoint: Mapping[str, Any] | None) -> tuple[TrainConfig, list[str]]:
    """Flags left out come from the run to continue; or the model's from the weights to start from."""
    if checkpoint is None:
        return build_config(given)
    if "training" in checkpoint:
        return build_config(given, checkpoint["training"]["config"])
    model = checkpoint["model_config"]
    described = {
        "model": model["name"],
        "size": model["size"],
        "backbone": model["backbone"],
        "imgsz": tuple(model["image_size"]),
    }
    return build_config({**described, **given})


if __name__ == "__main__":
    sys.exit(main())
