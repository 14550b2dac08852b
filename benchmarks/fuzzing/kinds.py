"""The kinds of files that the product reads: how good ones are made, changed, and read."""

from __future__ import annotations

from benchmarks.fuzzing import labels, media, models
from benchmarks.fuzzing.mutations import Mutation, mutate_bytes, mutate_json, mutate_npz, mutate_text
from benchmarks.fuzzing.reader import Kind

KINDS = {
    "annotations": Kind(labels.make_annotations, labels.read_annotations),
    "results": Kind(labels.make_results, labels.read_results),
    "importers": Kind(labels.make_importers, labels.read_importers),
    "configs": Kind(labels.make_configs, labels.read_configs),
    "videos": Kind(media.make_videos, media.read_videos),
    "images": Kind(media.make_images, media.read_images, 12),
    "exports": Kind(models.make_exports, models.read_exports, 4, ("onnx", "onnxscript", "onnxruntime")),
    "arrays": Kind(labels.make_arrays, labels.read_arrays),
    "checkpoints": Kind(models.make_checkpoints, models.read_checkpoints),
    "weights": Kind(models.make_weights, models.read_weights, 12),
    "manifests": Kind(models.make_manifests, models.read_manifests),
}
"""Exports take seconds each, so there are fewer of them."""
BY_SUFFIX: dict[str, Mutation] = {
    ".json": mutate_json,
    ".xml": mutate_text,
    ".yaml": mutate_text,
    ".txt": mutate_text,
    ".npz": mutate_npz,
    ".pt": models.mutate_pickled,
    ".pth": models.mutate_pickled,
    ".safetensors": models.mutate_safetensors,
    ".onnx": models.mutate_onnx,
}


def mutation_of(suffix: str) -> Mutation:
    """What changes a file with this suffix."""
    return BY_SUFFIX.get(suffix, mutate_bytes)
