"""Trains a pose estimator: flags, a validated configuration, and the stage that does the work.

One process: ``python train_pose.py -MODEL sia_pose_simple -COCO_ROOT ... -TRAIN_ANN ... -VAL_ANN ...``
Several:     ``torchrun --nproc_per_node=4 train_pose.py ...``
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.config import TrainConfig
from utils.config_builder import build_config
from utils.config_file import with_config_files
from utils.errors import ConfigError, SiaError, WeightsError, show_every_name
from utils.flags import parse_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage.

    Returns:
        The exit status: 0; 1 after an error; 130 or 143 after Ctrl-C or SIGTERM, with everything saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_every_name()
    try:
        number = train(arguments)
    except SiaError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:  # before the first step; later it is caught and the run is saved
        complain("stopped before the first step; there is nothing to save.")
        return 130
    return 128 + number if number else 0


def train(arguments: Sequence[str]) -> int:
    """Returns 0, or the number of the signal that ended the stage."""
    given = parse_flags(with_config_files(arguments))
    # Imported after the flags are read: a wrong one is answered at once, without loading all of torch.
    if given.get("pipeline") is not None or given.get("stage", "baseline") != "baseline":
        from stages import pipeline

        return pipeline.run(given, ("train_pose.py", *arguments))
    from stages import baseline
    from stages.start import Start
    from utils.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(given["resume"]) if given.get("resume") else None
    config, changes = configure(given, checkpoint)
    start = Start(checkpoint, tuple(changes), ("train_pose.py", *arguments))
    return baseline.run(config, start)


def configure(given: dict[str, Any], checkpoint: Mapping[str, Any] | None) -> tuple[TrainConfig, list[str]]:
    """Flags left out come from the run to continue; or the model's from the weights to start from.

    Raises:
        ConfigError: flags that don't go together.
    """
    if checkpoint is None:
        return build_config(given)
    from stages.weights import read_description

    model, _ = read_description(checkpoint, given["resume"])
    if "training" in checkpoint:
        return build_config(given, run_config(checkpoint, given["resume"]))
    if given.get("backbone") is not None:
        raise ConfigError("-BACKBONE and --RESUME both bring weights for the backbone. Leave one of them out.")
    described = {"model": model.name, "size": model.size, "imgsz": model.image_size}
    return build_config({**described, **given})


def run_config(checkpoint: Mapping[str, Any], source: Path) -> Mapping[str, Any]:
    """The flags of the run that a training checkpoint belongs to.

    Raises:
        WeightsError: it doesn't say.
    """
    training = checkpoint["training"]
    config = training.get("config") if isinstance(training, Mapping) else None
    if not isinstance(config, Mapping):
        raise WeightsError(f"{source} doesn't say how it was trained, so the run can't be continued.")
    return config


def complain(message: str) -> None:
    """One line on stderr; of several processes with the same error, the first one speaks."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(2)  # by then torchrun has ended this process, unless rank 0 has no error
    print(f"error: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
