"""RTMPose (Jiang et al., 2023) and DWPose (Yang et al., 2023): ONNX files with a score vector a keypoint and axis."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sia.errors import WeightsError
from sia.evaluation.predictions import Array
from sia.io.input_file import check_weights_file
from sia.io.optional import need
from sia.runtimes.device import choose_device, cpu_threads
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.crops import CropStyle, cut, windows_of
from stages.ensemble.experts.expert import Poses, coco_joints

BINS = 2
"""Bins a pixel of the crop."""
BATCH = 16


class SimccExpert:
    """Runs on crops and on their mirror images, and decodes the mean of both scores."""

    def __init__(self, session: Any, style: CropStyle, joints: list[int], batched: bool, source: object) -> None:
        """batched: whether the file takes more than one crop at a time."""
        self.session, self.style, self.joints, self.source = session, style, joints, source
        self.batch = BATCH if batched else 1

    def predict(self, image: NDArray[np.uint8], boxes: Array) -> Poses:
        """See `Expert`."""
        windows = windows_of(boxes, self.style.size)
        crops = cut(image, windows, self.style)
        if not len(crops):
            return Poses(np.zeros((0, len(self.joints), 2)), np.zeros((0, len(self.joints))))
        straight, mirrored = self._run(crops), self._run(np.ascontiguousarray(crops[..., ::-1]))
        swapped = [axis[:, COCO_PERSON.flip_order] for axis in mirrored]
        along_x, along_y = (straight[0] + swapped[0][..., ::-1]) / 2, (straight[1] + swapped[1]) / 2
        if not (np.isfinite(along_x).all() and np.isfinite(along_y).all()):
            raise WeightsError(f"{self.source} gives scores that are not finite. Its weights are broken.")
        places, scores = decode_simcc(along_x, along_y)
        positive = scores.clip(min=0)
        # The scores have no upper limit, so they are squeezed: cutting them at 1 would make the best ones equal.
        return Poses(windows.to_image(places), positive / (1 + positive))

    def _run(self, crops: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Scores along x and along y; outputs have other names in other files, but one order."""
        name = self.session.get_inputs()[0].name
        parts = [self.session.run(None, {name: part}) for part in _split(crops, self.batch)]
        return [np.concatenate([part[axis] for part in parts])[:, self.joints] for axis in (0, 1)]


def _split(crops: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [crops[start : start + size] for start in range(0, len(crops), size)]


def decode_simcc(along_x: NDArray[np.floating], along_y: NDArray[np.floating]) -> tuple[Array, Array]:
    """The best bin of each axis (Li et al., SimCC, ECCV 2022, section 3.1).

    Args:
        along_x: (N, K, bins) scores over the crop's width.
        along_y: (N, K, bins) scores over its height.

    Returns:
        (N, K, 2) x, y as fractions of the crop; (N, K) the lower of the two best scores, which may exceed 1.
    """
    places = np.stack([axis.argmax(-1) / axis.shape[-1] for axis in (along_x, along_y)], axis=-1)
    return places, np.minimum(along_x.max(-1), along_y.max(-1)).astype(np.float64)


def load_simcc(path: Path, device: str) -> SimccExpert:
    """Opens an .onnx file, or the zip file with ``end2end.onnx`` in it that RTMPose is published as.

    It runs on a CUDA device where ONNX Runtime is the package for GPUs, else on the CPU.

    Raises:
        WeightsError: the file is missing or broken, or its inputs and outputs are no SimCC's; the message has shapes.
        ConfigError: the device can't be used, or the package onnxruntime is missing.
    """
    library = need("onnxruntime", f"Running {path}")
    chosen = choose_device(device).torch
    check_weights_file(path)
    options = library.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.log_severity_level = 4  # what goes wrong is raised as well
    source = _unzipped(path) if path.suffix == ".zip" else str(path)
    try:
        session = library.InferenceSession(source, options, providers=_providers(library, chosen))
    except Exception as error:  # the library has a class of its own for each kind of damage
        raise WeightsError(f"{path} is broken or no ONNX file. Copy or download it again.") from error
    size, count = _check(session, path)
    batched = not isinstance(session.get_inputs()[0].shape[0], int)
    return SimccExpert(session, CropStyle(size, unbiased=False), coco_joints(count, path), batched, path)


def _providers(library: Any, device: torch.device) -> list[Any]:
    """What ONNX Runtime shall run a file with, the best first."""
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in library.get_available_providers()
    first = [("CUDAExecutionProvider", {"device_id": device.index or 0})] if on_gpu else []
    return [*first, "CPUExecutionProvider"]


def _unzipped(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if name.endswith("end2end.onnx")]
            if len(found) != 1:
                raise WeightsError(f"{path} must have one end2end.onnx in it, but has {len(found)}.")
            return archive.read(found[0])
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
        raise WeightsError(f"{path} is broken or no zip file. Copy or download it again.") from error


def _check(session: Any, path: Path) -> tuple[tuple[int, int], int]:
    """Height and width of the input, and the number of keypoints."""
    inputs, outputs = ([list(entry.shape) for entry in side] for side in (session.get_inputs(), session.get_outputs()))
    shapes = f"inputs {inputs} and outputs {outputs}"
    wanted = "input [N, 3, H, W] and outputs [N, K, 2 W] and [N, K, 2 H]"
    if [len(shape) for shape in inputs] != [4] or [len(shape) for shape in outputs] != [3, 3]:
        raise WeightsError(f"{path} has {shapes}; a SimCC model has the {wanted}.")
    (_, channels, height, width), (first, second) = inputs[0], (shape[1:] for shape in outputs)
    fixed = all(isinstance(side, int) for side in (height, width, first[0]))
    if not fixed or channels != 3 or first != [first[0], BINS * width] or second != [first[0], BINS * height]:
        raise WeightsError(f"{path} has {shapes}; a SimCC model has the {wanted}.")
    return (height, width), first[0]
