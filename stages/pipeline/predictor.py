"""A finished pipeline on new images.

They take the place of ``test``, whose labels no stage reads: every stage that was applied runs once more on a copy of
its folder, finds there what it has learned, and changes what was found in the new images as it changed ``test``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

from sia.coco.coco_files import load_ground_truth, load_skeleton, read_json, write_annotations
from sia.errors import ConfigError, DataError
from sia.io.images import read_image
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from stages.baseline import write_predictions
from stages.pipeline.data import part_files
from stages.pipeline.manifest import Manifest
from stages.pipeline.runner import load_stage, read_config
from stages.pipeline.state import Handed, Ledger, stage_flags
from stages.postprocess.thresholds import DisplayThresholds, choose_display_thresholds
from stages.stage import StageWork
from utils.config.train_config import TrainConfig
from utils.metrics.predictions import read_predictions

MODELS = ("baseline", "ssl")
"""Stages that hand on weights; the others change what a model has found."""

IMAGES = "images.json"

KEPT = ("*.pt", "member-*")
"""What a stage finds again of what it has learned and seen."""


@dataclass(frozen=True)
class FinishedPipeline:
    """What stands of a pipeline.

    Attributes:
        manifest: of its folder.
        config: every flag.
        stages: those after the model that were applied, in their order, each with what it was given.
        handed: by the last of all stages that were applied.
        skeleton: of the people.
    """

    manifest: Manifest
    config: TrainConfig
    stages: Mapping[str, Handed]
    handed: Handed
    skeleton: Skeleton

    @classmethod
    def open(cls, folder: Path, device: str, batch_size: int) -> FinishedPipeline:
        """Reads the folder, and makes sure that what is needed of it is as it was made.

        Raises:
            ConfigError: it is no pipeline's, or nothing in it can be used on new images.
            DataError: the manifest is broken, or a file that it names is gone.
        """
        manifest = Manifest.read(folder)
        if manifest is None:
            raise ConfigError(f"--pipeline {folder} is no pipeline. Make one: train_pose.py -STAGE all -PIPELINE DIR.")
        config = read_config({"pipeline": folder})
        standing = Ledger(manifest, config, _silent).standing()
        _check(manifest, config, standing)
        stages = {name: before for (_, before), (name, _) in pairwise(standing) if name not in MODELS}
        # Without a language model: words are made of what is shown in the end (--describe).
        config = replace(config, device=device, bs=batch_size, llm=None, llm_url=None)
        return cls(manifest, config, stages, standing[-1][1], load_skeleton(part_files(manifest)["calibrate"]))

    @property
    def weights(self) -> Path:
        """Of the model that finds people."""
        assert self.handed.weights is not None
        return self.handed.weights

    def describe(self) -> str:
        """One line: what changes what the model finds."""
        return f"pipeline {self.manifest.folder}: {', '.join(self.stages) or 'no stage'} after the model"

    def display(self) -> DisplayThresholds:
        """The thresholds that show the people of ``calibrate`` best, as the last stage left them.

        Raises:
            DataError: a file can't be read.
        """
        truth = load_ground_truth(part_files(self.manifest)["calibrate"], self.skeleton)
        people = read_predictions(self.handed.results["calibrate"], truth, self.skeleton)
        return choose_display_thresholds(people, truth, self.skeleton)

    def find(self, files: Sequence[Path], say: Callable[[str], None]) -> dict[Path, People]:
        """Everybody in the images that can be read, best first, in their pixels.

        Args:
            files: the images.
            say: prints a line.

        Raises:
            SiaError: no image can be read, or images or members of the pipeline are gone.
        """
        with tempfile.TemporaryDirectory(prefix="sia-pipeline-") as temporary:
            folder = Path(temporary)
            numbers = self._link(folder, files)
            parts = {**part_files(self.manifest), "test": folder / IMAGES}
            work = StageWork(folder, self.config, self.config.coco_root, parts, {}, self.weights, _silent, folder)
            people = read_predictions(self._run(work, say), work.truth("test", self.skeleton), self.skeleton)
        return {file: people.of_image(number).best_first().as_people() for file, number in numbers.items()}

    def _link(self, folder: Path, files: Sequence[Path]) -> dict[Path, int]:
        """The images that can be read, by numbers: links to them, and annotations without people."""
        numbers, images = dict[Path, int](), []
        for number, (file, (height, width)) in enumerate(_sizes(files).items(), 1):
            link = folder / f"{number}{file.suffix}"
            link.symlink_to(file.absolute())
            images.append({"id": number, "file_name": link.name, "width": width, "height": height})
            numbers[file] = number
        categories = read_json(part_files(self.manifest)["test"], "annotation file")["categories"]
        write_annotations(folder / IMAGES, {"images": images, "annotations": [], "categories": categories})
        return numbers

    def _run(self, work: StageWork, say: Callable[[str], None]) -> Path:
        """The results file of the new images after the last stage."""
        found = work.folder / "found.json"
        say("the model looks at the images")
        write_predictions(self.weights, work, "test", found)
        for name, given in self.stages.items():
            say(f"{name} goes on with what was found")
            folder = self._copy(name, work.folder)
            before = {**given.results, "test": found}
            result = load_stage(name)(replace(work, folder=folder, before=before, weights=given.weights))
            found = result.after.get("test", found)
        return found

    def _copy(self, name: str, folder: Path) -> Path:
        """A folder with what the stage has `KEPT`."""
        made, copy = self.manifest.folder / self.manifest.stages[name].folder, folder / name
        copy.mkdir()
        for file in chain.from_iterable(made.glob(pattern) for pattern in KEPT):
            shutil.copy2(file, copy)
        return copy


def _check(manifest: Manifest, config: TrainConfig, standing: Sequence[tuple[str, Handed]]) -> None:
    """Whether a pipeline is whole, has a model, and was made with its present flags."""
    folder = manifest.folder
    altered = manifest.altered(manifest.splits)
    if altered:
        raise ConfigError(f"{', '.join(altered)} in {folder} was altered or removed. Put it back.")
    if not standing or standing[-1][1].weights is None:
        raise ConfigError(
            f"The pipeline {folder} has no model of its own: its baseline has not run, or is results of another "
            "program. Only one that trained its baseline can be used on new images."
        )
    for name in [name for name, _ in standing if name not in MODELS]:
        record = manifest.stages[name]
        flags = "; ".join(record.differences(stage_flags(config, name), record.inputs))
        if flags:
            raise ConfigError(
                f"{name} was made with other flags ({flags}). Run train_pose.py -STAGE all -PIPELINE {folder}."
            )


def _silent(line: str) -> None:
    """What the stages chose is known: the report has it."""


def _sizes(files: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Height and width of the images that can be read.

    Raises:
        DataError: none can be.
    """
    sizes, faults = dict[Path, tuple[int, int]](), list[DataError]()
    for file in files:
        try:
            height, width = read_image(file).shape[:2]
            sizes[file] = (height, width)
        except DataError as error:  # noqa: PERF203 (a file takes milliseconds)
            faults.append(error)
    if not sizes:
        raise faults[0]
    return sizes
