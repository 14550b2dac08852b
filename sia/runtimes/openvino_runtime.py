"""Exported .xml and .bin files, run by OpenVINO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.errors import WeightsError, first_line
from sia.io.input_file import check_weights_file
from sia.io.optional import need
from sia.runtimes.device import Device, choose_cpu, cpu_threads
from sia.runtimes.metadata import FLOAT32, METADATA, ModelMetadata
from sia.runtimes.runtime import INPUT, Decoded, Runtime, outputs_of

_CORES: list[Any] = []
"""All that were made. OpenVINO's CPU plugin sets a stack for signals; when its core goes, it unmaps the stack without
taking it back. Ctrl-C or SIGTERM would then end Python by a segmentation fault: so none goes before the process."""

MOST_SHAPES = 4
"""Shapes of batches for which the model is compiled anew, in half a second: a graph that knows its shapes is a quarter
faster. Batches of all other shapes are run by the graph of any shape."""

ROUNDED = ("backbone.vit.patch_embed", "backbone.vit.blocks", "roi_head.body")
"""Starts of the names of the nodes that compute features: nearly all of the work.

What computes places stays in float32. OpenVINO's own bfloat16 rounds them too: at 384 px keypoints of `n32` move by 1.1
pixels (median), and so by 0.2, in the same time.
"""

_ALIKE = ("Constant", "ShapeOf")
"""Types of nodes that have no arithmetic of their own."""


class OpenVinoRuntime(Runtime):
    """OpenVINO on the CPU, with as many threads as PyTorch would use."""

    def __init__(self, description: ModelMetadata, device: Device, source: object, core: Any, model: Any) -> None:
        """core: that read the model."""
        super().__init__(description, device, source)
        self._core, self._model = core, model
        self._compiled: dict[tuple[int, ...] | None, Any] = {}

    @classmethod
    def load(cls, path: Path, device: str, exact: bool = False) -> OpenVinoRuntime:
        """Opens a file made by scripts/export.py.

        Args:
            path: the .xml.
            device: has to allow the CPU.
            exact: whether to compute in float32 also where the processor multiplies bfloat16 faster.

        Raises:
            WeightsError: the .xml or the .bin is missing, broken, or not of a SIA Pose model.
            ConfigError: another device than the CPU is asked for, or the package openvino is missing.
        """
        library = need("openvino", f"Running {path}")
        chosen = choose_cpu(device, f"OpenVINO {library.__version__.split('-')[0]}")
        check_weights_file(path)
        check_weights_file(path.with_suffix(".bin"))
        try:
            core = new_core(library)
            model = core.read_model(path)
            text = model.get_rt_info([METADATA]).astype(str) if model.has_rt_info([METADATA]) else None
            description = ModelMetadata.from_json(text, path)
            is_fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if is_fast and not exact and description.precision == FLOAT32:
                round_features(library, model)
                description = replace(description, precision=f"{description.precision}, features in bfloat16")
            return cls(description, chosen, path, core, model)
        except (RuntimeError, UnicodeDecodeError) as error:
            raise WeightsError(f"{path} is broken or no OpenVINO model. Export or copy it again.") from error

    def find(self, images: NDArray[np.uint8]) -> Decoded:
        """See `Runtime`.

        Raises:
            WeightsError: OpenVINO can't compute it.
        """
        self.check_size((images.shape[-2], images.shape[-1]))
        try:
            found = self._graph_for(images.shape)({INPUT: np.ascontiguousarray(images)})
        except RuntimeError as error:
            raise WeightsError(f"{self.source} can't be run on {images.shape}: {first_line(error)}") from error
        return Decoded(*(found[name].copy() for name in outputs_of(self.description)))

    def _graph_for(self, shape: tuple[int, ...]) -> Any:
        """The graph for images of this shape, compiled when it is first needed; under None that of any shape."""
        known = shape in self._compiled or len(self._compiled.keys() - {None}) < MOST_SHAPES
        key = shape if known else None
        if key not in self._compiled:
            model = self._model.clone()
            if key is not None:
                model.reshape(list(key))
            # Without the hint, OpenVINO would round all to bfloat16 where the processor has it.
            options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cpu_threads()}
            self._compiled[key] = self._core.compile_model(model, "CPU", options)
        return self._compiled[key]


def new_core(library: Any) -> Any:
    """One that lives as long as the process."""
    _CORES.append(library.Core())
    return _CORES[-1]


def round_features(library: Any, model: Any) -> None:
    """Changes the nodes named in `ROUNDED` from float32 to bfloat16, and converts at their borders.

    Args:
        library: the package openvino.
        model: ov.Model in float32, as scripts/export.py writes it.
    """
    nodes = [node for node in model.get_ordered_ops() if _is_rounded(node)]
    for node in nodes:
        for target in node.inputs():
            source = target.get_source_output()
            if source.get_element_type() == library.Type.f32 and not _is_rounded(source.get_node()):
                target.replace_source_output(_converted(library, source, "bf16"))
    for node in nodes:
        for output in node.outputs():
            readers = [target for target in output.get_target_inputs() if not _is_rounded(target.get_node())]
            if output.get_element_type() == library.Type.f32 and readers:
                exact = _converted(library, output, "f32")
                for target in readers:
                    target.replace_source_output(exact)
    model.validate_nodes_and_infer_types()


def _is_rounded(node: Any) -> bool:
    return node.get_friendly_name().startswith(ROUNDED) and node.get_type_name() not in _ALIKE


def _converted(library: Any, output: Any, kind: str) -> Any:
    return library.opset13.convert(output, kind).output(0)
