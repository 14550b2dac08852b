"""Names of the first edition (0.1), which its weights, checkpoints and exports still have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sia.errors import warn

MODULES = {"glimpse": "roi_head", "rivalry": "duplicate_suppression", "narrow": "input_proj"}
"""Of the model: the first word of keys in state dicts."""

FIELDS = {
    "square": "roi_size",
    "look_thresh": "roi_score_thresh",
    "paths": "ssl_augmentations",
    "corrector_steps": "refinement_steps",
}
"""Of configurations: of a model, of an export, and flags of a training."""

LOSSES = {"place": "heatmap"}

IMAGES = {"pictures": "images", "picture ids (checksum)": "image ids (checksum)"}
"""Of what a run says about its data."""

FLAGS = {
    "-SQUARE": "-ROI_SIZE",
    "-PATHS": "-SSL_AUGMENTATIONS",
    "-CORRECTOR_STEPS": "-REFINEMENT_STEPS",
    "--look_thresh": "--roi_score_thresh",
}
"""Of commands; they are taken until the next version."""

_KEY = re.compile(rf"^({'|'.join(MODULES)})\.")


def rename_flags(argv: Sequence[str]) -> list[str]:
    """A command line with the present flags; says which ones were old."""
    words = []
    for word in argv:
        flag, equals, value = word.partition("=")
        if flag in FLAGS:
            warn(f"{flag} is now {FLAGS[flag]}; the old name goes in the next version.")
        words.append(f"{FLAGS.get(flag, flag)}{equals}{value}")
    return words


def rename_modules(state: Mapping[str, Any]) -> dict[str, Any]:
    """A model's state dict with the present keys."""
    return {_KEY.sub(lambda match: f"{MODULES[match[1]]}.", str(key)): value for key, value in state.items()}


def rename_checkpoint(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint whose weights, and whose training if there is one, have the present names."""
    renamed = dict(payload)
    if isinstance(payload.get("weights"), Mapping):
        renamed["weights"] = rename_modules(payload["weights"])
    training = payload.get("training")
    if isinstance(training, Mapping):
        renamed["training"] = {key: _RENAME[key](value) if key in _RENAME else value for key, value in training.items()}
    return renamed


def _rename_sums(cursor: Any) -> Any:
    """Of each rank: the sums of the losses."""
    if not isinstance(cursor, Mapping) or not isinstance(cursor.get("sums"), list):
        return cursor
    sums = [
        {LOSSES.get(name, name): value for name, value in each.items()} if isinstance(each, Mapping) else each
        for each in cursor["sums"]
    ]
    return {**cursor, "sums": sums}


def _if_mapping(rename: Callable[[Mapping[str, Any]], Any]) -> Callable[[Any], Any]:
    """Damaged files are for the schema to refuse."""
    return lambda value: rename(value) if isinstance(value, Mapping) else value


def rename_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the present names; one number for the size of all crops, which were squares, becomes two.

    Raises:
        TypeError: it is no mapping.
    """
    renamed = {FIELDS.get(key, key): value for key, value in {**values}.items()}
    if isinstance(renamed.get("roi_size"), int):
        renamed["roi_size"] = [renamed["roi_size"]] * 2
    return renamed


_RENAME: dict[str, Callable[[Any], Any]] = {
    "model": _if_mapping(rename_modules),
    "averaged": _if_mapping(rename_modules),
    "config": _if_mapping(rename_fields),
    "cursor": _rename_sums,
    "identity": _if_mapping(lambda values: {IMAGES.get(key, key): value for key, value in values.items()}),
}
