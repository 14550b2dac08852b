"""An .onnx file as an OpenVINO model (.xml and .bin), in float32 or in int8."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.errors import OutputError
from sia.io.optional import need
from sia.runtimes.graph import quiet
from sia.runtimes.metadata import METADATA, ModelMetadata
from sia.runtimes.openvino_runtime import new_core
from sia.runtimes.runtime import INPUT

QUANTISED = "(backbone[.]vit[.]blocks|roi_head[.]body)[.]"
"""Start of the names of the nodes that int8 is for: most of the work. Stem and what computes places have to be finer
than a 255th of their range. docs/export.md has what it costs and saves.
"""


def export_openvino(onnx_path: Path, path: Path, description: ModelMetadata) -> None:
    """Writes path (.xml) and the .bin beside it.

    Raises:
        ConfigError: the package is missing.
        OutputError: it can't be written.
    """
    library = need("openvino", "Exporting to OpenVINO")
    _save(library, new_core(library).read_model(onnx_path), path, description)


def export_int8(onnx_path: Path, path: Path, description: ModelMetadata, images: Sequence[NDArray[np.uint8]]) -> None:
    """The same with transformer blocks and RoI keypoint head in int8, its ranges measured on images.

    Args:
        onnx_path: the float32 model.
        path: the .xml.
        description: of the float32 model.
        images: (1, 3, H, W) each, letterboxed.

    Raises:
        ConfigError: a package is missing.
        OutputError: it can't be written.
    """
    library = need("openvino", "Exporting to OpenVINO")
    os.environ.setdefault("NNCF_CI", "1")  # NNCF would send statistics of its use otherwise
    with quiet():
        nncf = need("nncf", "Exporting to int8")
    nncf.set_log_level(logging.ERROR)
    model = nncf.quantize(
        new_core(library).read_model(onnx_path),
        nncf.Dataset(images, lambda image: {INPUT: image}),
        subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(patterns=[f"(?!{QUANTISED}).*"], validate=False),
    )
    precision = "int8 in blocks and RoI keypoint head, else float32"
    _save(library, model, path, replace(description, precision=precision))


def _save(library: Any, model: Any, path: Path, description: ModelMetadata) -> None:
    model.set_rt_info(description.to_json(), [METADATA])
    try:
        library.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO has no other class for what the disk refuses
        raise OutputError(
            f"Can't write {path}: OpenVINO could not save it, mostly because the disk is full. Free space there, or "
            "choose another output folder."
        ) from error
