"""Exported .onnx files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.errors import WeightsError, first_line
from sia.io.input_file import check_weights_file
from sia.io.optional import need
from sia.runtimes.device import Device, choose_cpu, cpu_threads
from sia.runtimes.metadata import METADATA, ModelMetadata
from sia.runtimes.runtime import INPUT, Decoded, Runtime, outputs_of


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU, with as many threads as PyTorch would use."""

    def __init__(self, description: ModelMetadata, device: Device, source: object, session: Any) -> None:
        super().__init__(description, device, source)
        self._session = session

    @classmethod
    def load(cls, path: Path, device: str) -> OnnxRuntime:
        """Opens a file made by scripts/export.py.

        Raises:
            WeightsError: the file is missing, broken, or not of a SIA Pose model.
            ConfigError: another device than the CPU is asked for, or the package onnxruntime is missing.
        """
        library = need("onnxruntime", f"Running {path}")
        chosen = choose_cpu(device, f"ONNX Runtime {library.__version__}")
        check_weights_file(path)
        options = library.SessionOptions()
        options.intra_op_num_threads = cpu_threads()
        options.log_severity_level = 4  # what goes wrong is raised as well
        try:
            session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            metadata = session.get_modelmeta().custom_metadata_map  # its text may be damaged
        except Exception as error:  # the library has a class of its own for each kind of damage
            raise WeightsError(f"{path} is broken or no ONNX file. Export or copy it again.") from error
        return cls(ModelMetadata.from_json(metadata.get(METADATA), path), chosen, path, session)

    def find(self, images: NDArray[np.uint8]) -> Decoded:
        """See `Runtime`.

        Raises:
            WeightsError: ONNX Runtime can't compute it.
        """
        self.check_size((images.shape[-2], images.shape[-1]))
        try:
            return Decoded(*self._session.run(outputs_of(self.description), {INPUT: np.ascontiguousarray(images)}))
        except Exception as error:  # as above
            raise WeightsError(f"{self.source} can't be run on {images.shape}: {first_line(error)}") from error
