"""What the frame of the pipeline gives to a stage, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import GroundTruth, load_ground_truth
from sia.skeletons.skeleton import Skeleton
from utils.config.train_config import TrainConfig

PARTS = ("fit", "calibrate", "test")
"""Images to learn from, to choose and calibrate with, and to prove on. No stage reads the labels of ``test``."""


@dataclass(frozen=True)
class StageWork:
    """One stage's fraction of a pipeline.

    Attributes:
        folder: of this stage alone; it exists. What is complete in it from an earlier call may be used again.
        config: every flag.
        coco_root: folder of the images.
        parts: a COCO annotation file for each of `PARTS`.
        before: results files (`predictions`) of ``calibrate`` and ``test``, of the last stage that was applied;
            empty for the first stage.
        weights: of the model that made them, where one did.
        say: prints a line.
        test_root: folder of the images of ``test``, where it is another one: a finished pipeline is used on them.
    """

    folder: Path
    config: TrainConfig
    coco_root: Path
    parts: Mapping[str, Path]
    before: Mapping[str, Path]
    weights: Path | None
    say: Callable[[str], None]
    test_root: Path | None = None

    def images(self, part: str, skeleton: Skeleton | None = None) -> CocoPose:
        """The images of a part, and its labels; ``test`` may have none.

        Raises:
            DataError: they can't be used, or have other keypoints than the skeleton's.
        """
        root = self.test_root if part == "test" and self.test_root is not None else self.coco_root
        return CocoPose(root, self.parts[part], skeleton=skeleton, labelled=part != "test")

    def truth(self, part: str, skeleton: Skeleton) -> GroundTruth:
        """The labels of a part; ``test`` may have none.

        Raises:
            DataError: they can't be used.
        """
        return load_ground_truth(self.parts[part], skeleton, labelled=part != "test")


@dataclass(frozen=True)
class StageResult:
    """What a stage made; the frame proves on ``test`` whether it is better than what came in.

    Attributes:
        after: results files of ``calibrate`` and ``test``.
        weights: a newly trained model, if any.
        declined: why its input is passed through unchanged, decided on ``calibrate`` alone; empty otherwise.
        figures: what the report tells about it: plain types, by name.
        images: files in the folder that the report shows.
    """

    after: Mapping[str, Path]
    weights: Path | None = None
    declined: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[Path] = ()


class Stage(Protocol):
    """A stage is a function; the same input and seed give the same files."""

    def __call__(self, work: StageWork) -> StageResult:
        """Fits itself on ``fit``, decides on ``calibrate``, and writes results of ``calibrate`` and ``test``."""
