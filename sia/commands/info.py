"""`sia info`: what a file of weights is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sia.errors import WeightsError
from sia.io.bundled_weights import find_weights
from sia.io.input_file import check_input_file


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia info`."""
    parser.add_argument(
        "weights",
        metavar="FILE",
        nargs="?",
        help="best.pt, last.pt, an export (.onnx, .xml), the name of bundled weights such as sia_pose-n16, or "
        "hf:owner/name (default: the small model that is bundled)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Prints it.

    Raises:
        WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
        ConfigError: a package is missing.
    """
    path = find_weights(args.weights)
    check_input_file(path, "Check the name.", WeightsError)
    facts = read_facts(path)
    if args.json:
        print(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        text = ", ".join(f"{key} {_short(entry)}" for key, entry in value.items()) if isinstance(value, dict) else value
        print(f"{name:<11} {text}")


def read_facts(path: Path) -> dict[str, Any]:
    """What the file says about itself, as plain values.

    Raises:
        SiaError: as `run`.
    """
    from sia.runtimes.predictor import Predictor

    runtime = Predictor.load(path, "cpu").runtime
    description = runtime.description
    config, skeleton = description.config, description.skeleton
    facts = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "model": config.name,
        "size": config.size,
        "backbone": config.backbone or "its own",
        "parameters": description.parameters,
        "input": f"{config.image_size[0]}x{config.image_size[1]} (height x width)",
        "precision": description.precision,
        "keypoints": f"{skeleton.num_keypoints}: {', '.join(skeleton.names)}",
        "category": skeleton.category,
        "certainty": "visibility and sigma of each keypoint" if config.certainty else "none",
    }
    record = {} if path.suffix in (".onnx", ".xml") else _training_record(path)
    return {**facts, "training": record or "not noted in the file"}


def _training_record(path: Path) -> dict[str, Any]:
    """What a training noted beside the weights: numbers and texts, and those one level below."""
    from sia.io.checkpoint import load_checkpoint

    record: dict[str, Any] = {}
    for key, value in load_checkpoint(path).items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        if key not in ("format", "model_config", "skeleton", "weights"):
            plain = {f"{key}.{name}" if name else key: entry for name, entry in entries}
            record |= {name: entry for name, entry in plain.items() if isinstance(entry, str | int | float)}
    return record


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
