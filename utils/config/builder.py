"""The configuration of a run: what was given, completed by an earlier run or by the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from sia.errors import ConfigError
from sia.io.first_edition import rename_fields
from utils.config.declaration import format_value
from utils.config.train_config import TrainConfig, flag_fields


def build_config(given: Mapping[str, Any], saved: Mapping[str, Any] | None = None) -> tuple[TrainConfig, list[str]]:
    """Fills flags left out from a resumed run, or else by their defaults.

    Args:
        given: from `parse_flags`.
        saved: `TrainConfig.to_dict` of the run to resume.

    Returns:
        The configuration, and a line for each flag that differs from the resumed run.

    Raises:
        ConfigError: a required flag is missing, or a flag changes that a resumed run can't change.
    """
    if given.get("time") is not None and "epoch" in given:
        raise ConfigError(f"-TIME {given['time']:g} replaces -EPOCH {given['epoch']}. Give one of them.")
    if saved is None:
        return _complete(given), []
    base = _restored(saved)
    given = {name: value for name, value in given.items() if (name, value) != ("bs", 0)}  # auto: what was found
    changed = [f for f in flag_fields() if f.name in given and f.name in base and given[f.name] != base[f.name]]
    changed = [f for f in changed if f.name != "resume"]
    lines = [f"{f.metadata['flag']} {format_value(base[f.name])} -> {format_value(given[f.name])}" for f in changed]
    fixed = [line for line, entry in zip(lines, changed, strict=True) if not entry.metadata["free"]]
    if fixed:
        raise ConfigError(
            f"A resumed run can't change {'; '.join(fixed)}. Leave it out to continue exactly, or start a new run "
            "from the weights with --RESUME .../best.pt."
        )
    return _complete({**base, **given}), lines


def _complete(values: Mapping[str, Any]) -> TrainConfig:
    missing = [f.metadata["flag"] for f in flag_fields() if f.default is MISSING and f.name not in values]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given. See python train_pose.py --help.")
    return TrainConfig(**values)


def pipeline_config(given: Mapping[str, Any], saved: Mapping[str, Any] | None) -> TrainConfig:
    """Fills flags left out from the pipeline's earlier runs, or else by their defaults.

    Without -VAL_ANN it is the file of -TRAIN_ANN: one file for all parts. Arguments and errors: see `build_config`.
    """
    if saved is not None:
        kept = {name: value for name, value in _restored(saved).items() if name not in ("stage", "config_file")}
        if kept.get("val_ann") == kept.get("train_ann") and "train_ann" in given:  # one file, which was moved
            kept["val_ann"] = given["train_ann"]
        return _complete({**kept, **given})
    stage = given.get("stage", "baseline")
    if stage != "all" and given.get("pipeline") is None:
        raise ConfigError(f"-STAGE {stage} needs -PIPELINE, the folder of the pipeline that it belongs to.")
    whole = {"val_ann": given.get("train_ann")} if "coco_root" in given and "train_ann" in given else {}
    return build_config({"model": "sia_pose_simple", **whole, **given})[0]


def _restored(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The saved flags that there still are.

    Raises:
        ConfigError: one has a value of a type that it can't have.
    """
    saved, kinds = rename_fields(saved), get_type_hints(TrainConfig)
    return {f.name: _restore(f, saved[f.name], kinds[f.name]) for f in flag_fields() if f.name in saved}


def _restore(entry: Field[Any], value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{entry.metadata['flag']} was saved with a value that it can't have ({error}). Start a new run."
        ) from None


def _path(kind: type, value: Any) -> Path:
    if kind is not Path or not isinstance(value, str) or "\0" in value:
        raise ValueError(f"Expected a path, got `{type(value).__name__}`")
    return Path(value)
