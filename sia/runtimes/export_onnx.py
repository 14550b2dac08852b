"""A model as one .onnx file, with everything that inference needs to know inside."""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sia.errors import ConfigError, first_line
from sia.io.optional import need
from sia.runtimes.graph import AXES, quiet, trace
from sia.runtimes.metadata import METADATA, ModelMetadata
from sia.runtimes.runtime import INPUT, outputs_of
from sia.runtimes.torch_runtime import TorchRuntime

OPSET = 18
"""The oldest that has all of the graph's operations."""


def export_onnx(runtime: TorchRuntime, path: Path, image_size: tuple[int, int]) -> ModelMetadata:
    """Writes the file.

    Batch, height and width stay free, except for backbones that compute with the sides of the image in Python
    (DINOv3's rotary positions) and for inputs of a patch or two: their graph takes the given size only.

    Args:
        runtime: the model, on the CPU.
        path: the file, which must not exist.
        image_size: (H, W) that inference will use.

    Returns:
        What the file says about itself.

    Raises:
        ConfigError: a package is missing, or the model can't be exported at this size.
    """
    for package in ("onnx", "onnxscript"):
        need(package, "Exporting")
    config = replace(runtime.description.config, image_size=image_size)
    description = replace(runtime.description, config=config)
    program, fixed_size = _trace_any_size(runtime, image_size)
    description = replace(description, fixed_size=fixed_size)
    sides = {0: AXES[0]} if fixed_size else AXES
    with quiet():
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=outputs_of(description),
            opset_version=OPSET,
            dynamic_shapes=(sides,),
            external_data=False,
            verbose=False,
            optimize=False,
        )
    assert exported is not None
    _simplify(exported.model)
    model = exported.model_proto  # made anew at each access
    _take_no_image(model.graph)
    _save(model, description, path)
    return description


def _trace_any_size(
    runtime: TorchRuntime, image_size: tuple[int, int]
) -> tuple[torch.export.ExportedProgram, tuple[int, int] | None]:
    """The graph, and the one size that it takes, if it doesn't take any."""
    blocks = runtime.description.skeleton.blocks
    with suppress(torch._dynamo.exc.UserError):
        if runtime.description.is_large(image_size):
            return trace(runtime.model, blocks=blocks), None
    try:
        return trace(runtime.model, image_size, blocks), image_size
    except torch._dynamo.exc.UserError as error:
        raise ConfigError(f"{runtime.source} can't be exported: {first_line(error)} Use the .pt file.") from error


def _simplify(model: Any) -> None:
    """Computes what is constant, keeps equal parts once and drops unused ones.

    The exporter's own optimizer also tries to fuse operations, which takes longer than all else and gains nothing:
    ONNX Runtime and OpenVINO do so themselves when they load the file.
    """
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(model)
    for _ in range(2):  # what the first leaves unused keeps others from being constant
        fold_constants(model)
        common.RemoveUnusedNodesPass()(model)
    for clean in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    ):
        clean(model)


def _take_no_image(graph: Any) -> None:
    """Makes a batch of 0 images give 0 people, where operations can't take an empty tensor.

    An empty batch is computed as one black image, of which nothing is given out. Other batches are padded by nothing.
    """
    from onnx import TensorProto, helper

    outputs = [value.name for value in graph.output]
    padded = {name: f"{name}_padded" for name in (INPUT, *outputs)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [padded.get(name, name) for name in names]
    constants = {"axes_0": [0] * 4, "axes_1": [1] * 4, "first": [0], "second": [1]}
    graph.initializer.extend(
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values) for name, values in constants.items()
    )
    before = [
        helper.make_node("Shape", [INPUT], ["shape"]),
        helper.make_node("Sub", ["axes_1", "shape"], ["lack"]),
        helper.make_node("Max", ["lack", "axes_0"], ["pads_after"]),
        helper.make_node("Concat", ["axes_0", "pads_after"], ["pads"], axis=0),
        helper.make_node("Pad", [INPUT, "pads"], [padded[INPUT]]),
        helper.make_node("Slice", ["shape", "first", "second"], ["images_given"]),
    ]
    after = [helper.make_node("Slice", [padded[name], "first", "images_given", "first"], [name]) for name in outputs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _save(model: Any, description: ModelMetadata, path: Path) -> None:
    """Names every node after its module, and drops the exporter's notes, which hold paths of this machine."""
    graph = model.graph
    for number, node in enumerate(graph.node):
        node.name = f"{_module_of(node)}/{node.op_type}_{number}"
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, description.to_json()
    path.write_bytes(model.SerializeToString())


def _module_of(node: Any) -> str:
    """Such as backbone.vit.blocks.0.attn; empty for what no module computes."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    modules = [scope for scope in scopes if scope.startswith("model.")]
    return modules[-1].removeprefix("model.") if modules else ""
