"""`sia info`: what a file of weights is, or the best of a run's folder."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sia.commands.values import format_size
from sia.errors import WeightsError
from sia.io.bundled_weights import POSE_COCO, find_weights
from sia.io.input_file import check_input_file, sha256_of

EXPORTS = {".onnx": "ONNX", ".xml": "OpenVINO"}
RUN = ("coco_root", "train_ann", "val_ann", "epoch", "seed")
"""What is told of config.json of a run."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia info`."""
    parser.add_argument(
        "weights",
        metavar="FILE",
        nargs="?",
        help="best.pt, last.pt, the folder of a run, an export (.onnx, .xml), the name of bundled weights such as "
        "sia_pose-n16, or "
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
    if path.is_dir():
        path = next((file for name in ("best", "last") if (file := path / f"weights/{name}.pt").is_file()), path)
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
    from sia.runtimes.metadata import EXPORT_FORMAT
    from sia.runtimes.predictor import Predictor

    runtime = Predictor.load(path, "cpu").runtime
    description = runtime.description
    config, skeleton = description.config, description.skeleton
    head = config.head_config
    content: Mapping[str, Any] = {"format": f"{EXPORT_FORMAT}, {EXPORTS.get(path.suffix)}"}
    if path.suffix not in EXPORTS:
        from sia.io.checkpoint import load_checkpoint

        content = load_checkpoint(path)
    facts = {
        "file": str(path),
        "format": content["format"],
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "licence": "Apache-2.0" if path.resolve().parent == POSE_COCO.resolve() else "not noted in the file",
        "model": config.name,
        "size": config.size,
        "backbone": config.backbone or "its own",
        "crops": f"{format_size(head.roi_size)} px, read by {head.roi_trunk or 'an hourglass'}",
        "parameters": description.parameters,
        "input": f"{config.image_size[0]}x{config.image_size[1]} (height x width)",
        "precision": description.precision,
        "keypoints": f"{skeleton.num_keypoints}: {', '.join(skeleton.names)}",
        "category": skeleton.category,
        "limbs": ", ".join(f"{skeleton.names[a]}-{skeleton.names[b]}" for a, b in skeleton.edges) or "none",
        "certainty": "visibility and sigma of each keypoint" if config.certainty else "none",
    }
    record = {**_training_record(content), **_run_record(path, content)}
    return {**facts, "training": record or "not noted in the file"}


def _training_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a training noted beside the weights: numbers and texts, and those one level below."""
    record: dict[str, Any] = {}
    for key, value in content.items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        if key not in ("format", "model_config", "skeleton", "weights"):
            plain = {f"{key}.{name}" if name else key: entry for name, entry in entries}
            record |= {name: entry for name, entry in plain.items() if isinstance(entry, str | int | float)}
    return record


def _run_record(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Data and length of the run: of last.pt, or from config.json where the file lies in its run's folder."""
    training = content.get("training")
    flags = training.get("config") if isinstance(training, dict) else None
    if flags is None and path.resolve().parent.name == "weights":
        with contextlib.suppress(OSError, ValueError, RecursionError):  # another folder, or broken by hand
            flags = msgspec.json.decode(path.resolve().parent.with_name("config.json").read_bytes())
    return {name: flags[name] for name in RUN if name in flags} if isinstance(flags, dict) else {}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
