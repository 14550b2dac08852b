"""The kinds of files that the product reads: how good ones are made, changed, and read."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fuzzing import labels, media, models
from benchmarks.fuzzing.inputs import Kind
from benchmarks.fuzzing.mutations import Mutation, mutate_bytes, mutate_json, mutate_npy, mutate_text, mutate_zip

_BY_SUFFIX: dict[str, Mutation] = {
    ".json": mutate_json,
    ".xml": mutate_text,
    ".yaml": mutate_text,
    ".txt": mutate_text,
    ".npz": lambda data, rng: mutate_zip(data, rng, mutate_npy) if rng.random() < 0.7 else mutate_bytes(data, rng),
    ".pt": models.mutate_pickled,
    ".pth": models.mutate_pickled,
    ".safetensors": models.mutate_safetensors,
    ".onnx": models.mutate_onnx,
}


def mutation_of(suffix: str) -> Mutation:
    """What changes a file with this suffix."""
    return _BY_SUFFIX.get(suffix, mutate_bytes)


def _kind(name: str, module: object, *needs: str) -> Kind:
    return Kind(name, getattr(module, f"make_{name}"), mutation_of, getattr(module, f"read_{name}"), needs)


KINDS: tuple[Kind, ...] = (
    _kind("annotations", labels),
    _kind("results", labels),
    _kind("importers", labels),
    _kind("configs", labels),
    _kind("videos", media),
    _kind("images", media),
    _kind("exports", models, "onnx", "onnxscript", "onnxruntime"),
    _kind("arrays", labels),
    _kind("checkpoints", models),
    _kind("weights", models),
    _kind("manifests", models),
)

WEIGHTS = dict.fromkeys((kind.name for kind in KINDS), 10) | {"images": 12, "weights": 12, "exports": 4}
"""How many inputs of each kind there are, relative to each other: exports take seconds."""


def shares(names: list[str], inputs: int) -> dict[str, int]:
    """The number of inputs of each of some kinds; together as many as asked for."""
    total = sum(WEIGHTS[name] for name in names)
    bounds = [0]
    for name in names:
        bounds.append(bounds[-1] + WEIGHTS[name])
    ends = [inputs * bound // total for bound in bounds]
    return {name: ends[i + 1] - ends[i] for i, name in enumerate(names)}


def input_folder(output: Path) -> Path:
    """Where the inputs of a run are written."""
    return output / "inputs"
