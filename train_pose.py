"""Trains a pose estimator: flags, a validated configuration, and the stage that does the work.

One process: ``python train_pose.py -MODEL sia_pose_simple -COCO_ROOT ... -TRAIN_ANN ... -VAL_ANN ...``
Several:     ``torchrun --nproc_per_node=4 train_pose.py ...``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sia.errors import ConfigError, DataError, SiaError, complain, exit_status
from sia.io.bundled_weights import readable_weights
from sia.io.input_file import MAX_PIXELS, check_input_file, check_input_folder, set_pixel_limit
from sia.runtimes.device import wait_passively
from utils.config.builder import build_config, pipeline_config
from utils.config.config_file import with_config_files
from utils.config.flags import parse_flags
from utils.config.train_config import TrainConfig, flag_of

INPUTS: dict[str, tuple[Callable[[Path, str, type[SiaError]], None], type[SiaError]]] = {
    "coco_root": (check_input_folder, DataError),
    "train_ann": (check_input_file, DataError),
    "val_ann": (check_input_file, DataError),
    "results_calibrate": (check_input_file, DataError),
    "results_test": (check_input_file, DataError),
    "prior_poses": (check_input_file, DataError),
}
"""Fields that name what has to be there, and the error where it can't be read."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage.

    Returns:
        The exit status: 0; 1 after an error; 130 or 143 after Ctrl-C or SIGTERM, with everything saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def job() -> int:
        try:
            number = train(arguments)
        except KeyboardInterrupt:  # before the first step; later it is caught and the run is saved
            complain("stopped before the first step; there is nothing to save.")
            return 130
        return 128 + number if number else 0

    return exit_status(job)


def train(arguments: Sequence[str]) -> int:
    """Returns 0, or the number of the signal that ended the stage."""
    began = time.monotonic()
    given = check_command(arguments)
    wait_passively()
    # Imported after flags and paths are checked: a wrong one is answered at once, without loading all of torch.
    if given.get("roi_trunk") is not None:
        from stages.training.initialization import check_roi_trunk

        check_roi_trunk(given["roi_trunk"], given.get("roi_size"))
    if given.get("teacher") is not None:
        given = with_teacher(given)
    if is_pipeline(given):
        from stages.pipeline import runner as pipeline

        return pipeline.run(given, ("train_pose.py", *arguments))
    from sia.io.checkpoint import load_checkpoint
    from stages.training import train as baseline
    from stages.training.initialization import Start

    checkpoint = load_checkpoint(given["resume"]) if given.get("resume") else None
    config, changes = configure(given, checkpoint)
    start = Start(checkpoint, tuple(changes), ("train_pose.py", *arguments), began=began)
    return baseline.run(config, start)


def check_command(arguments: Sequence[str]) -> dict[str, Any]:
    """All that can be known of a command line before torch is loaded.

    Returns:
        The values given, by field name.

    Raises:
        ConfigError: wrong flags, or a file of flags that can't be used.
        SiaError: a file or folder that can't be read.
    """
    given = parse_flags(with_config_files(arguments))
    for name, (check, error) in INPUTS.items():
        if given.get(name) is not None:
            check(given[name], f"Check {flag_of(name)}.", error)
    if given.get("resume") is not None:
        given["resume"] = readable_weights(given["resume"], flag_of("resume"))
    if given.get("resume") is None and given.get("pipeline") is None:  # else an earlier run completes the flags
        if is_pipeline(given):
            pipeline_config(given, None)
        else:
            build_config(given)
    return given


def is_pipeline(given: Mapping[str, Any]) -> bool:
    """Whether the flags are for a stage of a pipeline, not for a plain training."""
    return given.get("pipeline") is not None or given.get("stage", "baseline") != "baseline"


def with_teacher(given: dict[str, Any]) -> dict[str, Any]:
    """The flags with -TRAIN_ANN as the teacher completes it.

    Raises:
        ConfigError: flags that don't go together.
        SiaError: labels or teacher that can't be used.
    """
    if is_pipeline(given):
        raise ConfigError("-TEACHER is for a plain training: the pipeline proves its stages on labels by people.")
    if given.get("train_ann") is None or given.get("coco_root") is None:
        raise ConfigError("-TEACHER needs -TRAIN_ANN and -COCO_ROOT. A run that is continued has its labels already.")
    from stages.ensemble.teacher import teacher_labels

    set_pixel_limit(given.get("max_pixels", MAX_PIXELS))
    device, folder = given.get("device", "auto"), given.get("output", Path("runs")) / "teachers"
    labels = teacher_labels(given["train_ann"], given["coco_root"], given["teacher"], device, folder)
    return {**given, "train_ann": labels}


def configure(given: dict[str, Any], checkpoint: Mapping[str, Any] | None) -> tuple[TrainConfig, list[str]]:
    """Flags left out come from the run to continue; or the model's from the weights to start from.

    Raises:
        ConfigError: flags that don't go together.
    """
    if checkpoint is None:
        return build_config(given)
    from sia.registry import read_description
    from stages.training.state import read_training

    model, _ = read_description(checkpoint, given["resume"])
    if "training" in checkpoint:
        return build_config(given, read_training(checkpoint, given["resume"]).config)
    if given.get("backbone") is not None:
        raise ConfigError("-BACKBONE and --RESUME both bring weights for the backbone. Leave one of them out.")
    described = {"model": model.name, "size": model.size, "imgsz": model.image_size}
    return build_config({**described, **given})


if __name__ == "__main__":
    sys.exit(main())
