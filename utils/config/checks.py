"""Whether the values of the flags of train_pose.py can work, each by itself and together."""

from __future__ import annotations

import math
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sia.commands.values import SIDES, within_sides
from sia.description.llm_flags import check_llm
from sia.errors import ConfigError, unknown
from utils.config.declaration import AUGMENTATIONS, LOGGERS, STAGES, format_value

if TYPE_CHECKING:
    from utils.config.train_config import TrainConfig

_RANGES: dict[str, tuple[float, float]] = {
    "time": (0.1, 1e6),
    "epoch": (1, math.inf), "bs": (1, math.inf), "accum": (1, math.inf), "lr": (1e-12, 10), "warmup": (0, math.inf),
    "wd": (0, 10), "clip": (0, math.inf), "llrd": (0.01, 1), "ema": (0, 0.999999), "mosaic": (0, 1),
    "rotate": (0, 180), "scale_min": (0.05, 20), "scale_max": (0.05, 20), "shift": (0, 1), "flip": (0, 1),
    "colour": (0, 1), "plain_epochs": (0, math.inf), "workers": (0, 256), "seed": (0, 2**32 - 1),
    "eval_every": (1, math.inf), "save_minutes": (0, math.inf), "freeze_epochs": (0, math.inf), "lora": (0, 1024),
    "patience": (0, math.inf),
    "calibrate": (0.01, 0.45), "ssl_epoch": (1, math.inf), "pseudo_precision": (0.05, 0.99),
    "ssl_weight": (0.001, 100), "ssl_ramp": (0, 1), "refinement_steps": (0, math.inf), "prior_steps": (1, math.inf),
    "llm_people": (0, math.inf), "max_pixels": (1, math.inf),
}  # fmt: skip


def check(config: TrainConfig) -> None:
    """Whether the values of a configuration can work, each by itself and together.

    Raises:
        ConfigError: they can't; the message names the flag.
    """
    for entry in fields(config):
        _check_value(entry, getattr(config, entry.name))
    for flag, given, known in (
        ("-LOGGER", config.logger, LOGGERS),
        ("--FORCE_STAGE", config.force_stage, STAGES),
        ("-SSL_AUGMENTATIONS", config.ssl_augmentations, AUGMENTATIONS),
    ):
        for name in given:
            if name not in known:
                raise ConfigError(unknown(flag, name, known))
    _check_pipeline(config)
    if not config.ssl_augmentations or len(set(config.ssl_augmentations)) < len(config.ssl_augmentations):
        raise ConfigError(
            f"-SSL_AUGMENTATIONS {format_value(config.ssl_augmentations)} must name one to three different ones."
        )
    if config.scale_min > config.scale_max:
        raise ConfigError(f"-SCALE_MIN {config.scale_min} is above -SCALE_MAX {config.scale_max}.")
    if config.plain_epochs is not None and config.plain_epochs > config.epoch:
        raise ConfigError(f"-PLAIN_EPOCHS {config.plain_epochs} is more than -EPOCH {config.epoch}.")
    if config.freeze_epochs is not None and config.freeze_epochs > config.epoch:
        raise ConfigError(f"-FREEZE_EPOCHS {config.freeze_epochs} is more than -EPOCH {config.epoch}.")
    if config.certainty_only and (config.lora or config.freeze_epochs or config.backbone):
        raise ConfigError("--CERTAINTY_ONLY leaves all else as it is. Leave out -LORA, -FREEZE_EPOCHS and -BACKBONE.")
    if config.freeze_roi and config.certainty_only:
        raise ConfigError("--FREEZE_ROI trains what --CERTAINTY_ONLY keeps. Leave one of them out.")
    if not within_sides(config.imgsz):
        raise ConfigError(
            f"-IMGSZ {format_value(config.imgsz)} must be between {SIDES[0]} and {SIDES[1]} pixels a side."
        )
    if config.exp is not None and (config.exp in ("", ".", "..") or Path(config.exp).name != config.exp):
        raise ConfigError(f"-EXP '{config.exp}' must be a plain name; -OUTPUT sets the folder it lies in.")
    check_llm(config.llm, config.llm_url)


def _check_value(entry: Field[Any], value: Any) -> None:
    """Of one flag, whether it is among its choices and within its range."""
    flag, choices = entry.metadata["flag"], entry.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(unknown(flag, value, choices))
    if entry.name not in _RANGES or value is None or (entry.name, value) == ("bs", 0):  # auto
        return
    low, high = _RANGES[entry.name]
    if not (math.isfinite(value) and low <= value <= high):
        limits = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{flag} {value} must be {limits}.")


def _check_pipeline(config: TrainConfig) -> None:
    if (config.results_calibrate is None) != (config.results_test is None):
        raise ConfigError("-RESULTS_CALIBRATE and -RESULTS_TEST go together. Give both.")
    if config.stage != "baseline" or config.pipeline is not None:
        _check_alone(config)
    elif config.results_test is not None or config.force_stage:
        raise ConfigError("--FORCE_STAGE and -RESULTS_TEST are for a pipeline. Name its folder with -PIPELINE.")
    if config.parallel == "fsdp":
        _check_fsdp(config)


def _check_alone(config: TrainConfig) -> None:
    """Flags of a training by itself."""
    for given, flag, reason in (
        (config.time is not None, "-TIME", "whose stages have lengths of their own"),
        (not config.bs, "-BS auto", "whose stages share one batch size"),
        (config.certainty_only, "--CERTAINTY_ONLY", "whose stages train all of a model"),
        (config.freeze_roi, "--FREEZE_ROI", "whose stages train all of a model"),
    ):
        if given:
            raise ConfigError(f"{flag} is for a training, not for a pipeline, {reason}. Leave it out.")


def _check_fsdp(config: TrainConfig) -> None:
    others = {
        "-TIME": config.time, "-BS auto": not config.bs, "-LORA": config.lora, "--COMPILE": config.compile,
        "-PRECISION fp16": config.precision == "fp16", "-STAGE": config.stage != "baseline",
        "-PIPELINE": config.pipeline is not None,
    }  # fmt: skip
    named = [flag for flag, is_given in others.items() if is_given]
    if named:
        raise ConfigError(f"-PARALLEL fsdp does not go with {', '.join(named)}. Leave one of them out.")
