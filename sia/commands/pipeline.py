"""A finished pipeline, whose stages live above the library: found where `stages` can be imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from sia.drawing.annotator import Image
from sia.io.optional import need_stages
from sia.people import People
from sia.runtimes.predictor import Predictor

LOADER = "stages.pipeline.fitted"
"""Has the class that implements `Pipeline`."""


class Pipeline(Protocol):
    """What inference needs of a finished pipeline."""

    @property
    def weights(self) -> Path:
        """Of the model that finds people."""

    def describe(self) -> str:
        """One line: what changes what the model finds."""

    def display(self) -> Any:
        """``score`` and ``keypoint``, in [0, 1], from which on people and keypoints are shown: as suits its images."""

    def finder(self, model: Predictor) -> Callable[[Sequence[Image]], list[People]]:
        """Opens the stages around its model; gives what finds the people of images, best first, in their pixels."""


def open_pipeline(folder: Path, device: str, batch_size: int) -> Pipeline:
    """Reads the folder of a finished pipeline, or of its fitted stages.

    Raises:
        ConfigError: the training code is not installed, or the folder is no finished pipeline's.
        DataError: a file of it is broken or gone.
    """
    module = need_stages(LOADER, f"--pipeline {folder}")
    return cast(Pipeline, module.FittedPipeline.open(folder, device, batch_size))
