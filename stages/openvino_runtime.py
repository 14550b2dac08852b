"""Exported .xml and .bin files, run by OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sia.graph import INPUT, OUTPUTS, decoded_from
from sia.postprocess import Decoded
from stages.runtime import METADATA, Description, Runtime
from utils.checkpoint import check_file
from utils.device import Device, choose_cpu
from utils.errors import WeightsError, first_line
from utils.optional import need

_CORES: list[Any] = []
"""All that were made. OpenVINO's CPU plugin sets a stack for signals; when its core goes, it unmaps the stack without
taking it back. Ctrl-C or SIGTERM would then end Python by a segmentation fault: so none goes before the process."""


class OpenVinoRuntime(Runtime):
    """OpenVINO on the CPU, with as many threads as PyTorch would use."""

    def __init__(self, description: Description, device: Device, source: object, compiled: Any) -> None:
        super().__init__(description, device, source)
        self._request = compiled.create_infer_request()

    @classmethod
    def load(cls, path: Path, device: str) -> OpenVinoRuntime:
        """Opens a file made by scripts/export.py.

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
            compiled = compile_model(core, model)
        except RuntimeError as error:
            raise WeightsError(f"{path} is broken or no OpenVINO model. Export or copy it again.") from error
        description = Description.from_json(text, path)
        return cls(description, chosen, path, compiled)

    def find(self, images: Tensor) -> Decoded:
        """See `Runtime`.

        Raises:
            WeightsError: OpenVINO can't compute it.
        """
        self.description.check_size((images.shape[-2], images.shape[-1]))
        try:
            found = self._request.infer({INPUT: images.contiguous().numpy()})
        except RuntimeError as error:
            raise WeightsError(f"{self.source} can't be run on {tuple(images.shape)}: {first_line(error)}") from error
        return decoded_from([torch.from_numpy(found[name].copy()) for name in OUTPUTS])


def new_core(library: Any) -> Any:
    """One that lives as long as the process."""
    _CORES.append(library.Core())
    return _CORES[-1]


def compile_model(core: Any, model: Any) -> Any:
    """For the CPU; without the hint, OpenVINO would round to bfloat16 where the processor has it."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return core.compile_model(model, "CPU", options)
