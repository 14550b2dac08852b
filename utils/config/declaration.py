"""How a flag of train_pose.py is declared: its group in the help, the kind of its value, and what it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any

STAGES = ("baseline", "ssl", "ensemble", "prior", "postprocess")
"""The stages of a pipeline, in their order."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

LOGGERS = ("trackio", "mlflow")
"""Dashboards beside those that have flags of their own."""

AUGMENTATIONS = ("geometry", "appearance", "occlusion")
"""Ways to change an unlabelled image (`datasets.unlabelled.strong_view`)."""


WHAT, DATA, LENGTH = "what to train", "data", "length and batch"
OPTIMISER, AUGMENTATION, MACHINE, RUN = "optimiser", "augmentation", "machine", "run folder and logging"
# A group whose title has the name of a stage holds the flags of that stage: changing one repeats that stage only.
PIPELINE = "pipeline"
SSL = "semi-supervised learning (ssl)"
ENSEMBLE = "ensemble"
PRIOR = "pose prior"
WORDS = "postprocess: words"


def batch_size(text: str) -> int:
    """``8`` -> 8; ``auto`` -> 0."""
    if text == "0":
        raise ValueError("0 images")
    return 0 if text == "auto" else int(text)


def name_list(text: str) -> tuple[str, ...]:
    """``a,b`` -> ("a", "b"); ``none`` -> ()."""
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def flag(
    name: str,
    group: str,
    text: str,
    *,
    kind: Callable[[str], Any] = str,
    default: Any = MISSING,
    choices: tuple[str, ...] | None = None,
    free: bool = False,
) -> Any:
    """A field with its flag; a default of None means ``auto``, and ``free`` that a resumed run may change it."""
    metadata = {"flag": name, "group": group, "text": text, "kind": kind, "choices": choices, "free": free}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def format_value(value: Any) -> str:
    """A flag's value as a user would type it."""
    if value is None:
        return "auto"
    if isinstance(value, (tuple, list)):
        numbers = all(isinstance(part, int) for part in value)
        return ("x" if numbers else ",").join(map(str, value)) or "none"
    return str(value)
