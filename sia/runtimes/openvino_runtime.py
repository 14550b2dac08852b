"""Exported .xml and .bin files, run by OpenVINO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.errors import WeightsError, first_line
from sia.io.checkpoint import check_file
from sia.io.optional import need
from sia.modules.postprocess import Decoded
from sia.runtimes.device import Device, choose_cpu, multiplies_bf16
from sia.runtimes.graph import INPUT, OUTPUTS, decoded_from
from sia.runtimes.openvino_precision import round_features
from sia.runtimes.runtime import FLOAT32, METADATA, Description, Runtime

_CORES: list[Any] = []
"""All that were made. OpenVINO's CPU plugin sets a stack for signals; when its core goes, it unmaps the stack without
taking it back. Ctrl-C or SIGTERM would then end Python by a segmentation fault: so none goes before the process."""

MOST_SHAPES = 4
"""Shapes of batches for which the model is compiled anew, in half a second: a graph that knows its shapes is a quarter
faster. Batches of all other shapes are run by the graph of any shape."""


class OpenVinoRuntime(Runtime):
    """OpenVINO on the CPU, with as many threads as PyTorch would use."""

    def __init__(self, description: Description, device: Device, source: object, core: Any, model: Any) -> None:
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
        check_file(path)
        check_file(path.with_suffix(".bin"))
        try:
            core = new_core(library)
            model = core.read_model(path)
            text = model.get_rt_info([METADATA]).astype(str) if model.has_rt_info([METADATA]) else None
            description = Description.from_json(text, path)
            if multiplies_bf16(chosen.torch) and not exact and description.precision == FLOAT32:
                round_features(library, model)
                description = replace(description, precision=f"{description.precision}, features in bfloat16")
            return cls(description, chosen, path, core, model)
        except (RuntimeError, UnicodeDecodeError) as error:
            raise WeightsError(f"{path} is broken or no OpenVINO model. Export or copy it again.") from error

    def find(self, images: Tensor) -> Decoded:
        """See `Runtime`.

        Raises:
            WeightsError: OpenVINO can't compute it.
        """
        self.check_size((images.shape[-2], images.shape[-1]))
        try:
            found = self._graph_for(tuple(images.shape))({INPUT: images.contiguous().numpy()})
        except RuntimeError as error:
            raise WeightsError(f"{self.source} can't be run on {tuple(images.shape)}: {first_line(error)}") from error
        return decoded_from([torch.from_numpy(found[name].copy()) for name in OUTPUTS])

    def _graph_for(self, shape: tuple[int, ...]) -> Any:
        """The graph for images of this shape, compiled when it is first needed; under None that of any shape."""
        known = shape in self._compiled or len(self._compiled.keys() - {None}) < MOST_SHAPES
        key = shape if known else None
        if key not in self._compiled:
            model = self._model.clone()
            if key is not None:
                model.reshape(list(key))
            # Without the hint, OpenVINO would round all to bfloat16 where the processor has it.
            options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            self._compiled[key] = self._core.compile_model(model, "CPU", options)
        return self._compiled[key]


def new_core(library: Any) -> Any:
    """One that lives as long as the process."""
    _CORES.append(library.Core())
    return _CORES[-1]
