"""A finished pipeline on new pictures.

They take the place of ``test``, whose labels no stage reads: every stage that was applied runs once more on a copy of
its folder, finds there what it has learned, and changes what was found in the new pictures as it changed ``test``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from stages.baseline_stage import write_predictions
from stages.display import Display, choose_display
from stages.ledger import Handed, Ledger
from stages.manifest import Manifest
from stages.pipeline import load_stage, read_config
from stages.pipeline_data import part_files
from stages.stage import StageWork
from utils.coco_files import load_ground_truth, load_skeleton, read_json, write_annotations
from utils.config import TrainConfig
from utils.errors import ConfigError, DataError
from utils.images import read_image
from utils.predictions import read_predictions
from utils.skeleton import Skeleton
from utils.structures import People

MODELS = ("baseline", "ssl")
"""Stages that hand on weights; the others change what a model has found."""

Sizes = Mapping[Path, tuple[int, int]]
"""Height and width of pictures."""


@dataclass(frozen=True)
class FinishedPipeline:
    """What stands of a pipeline.

    Attributes:
        manifest: of its folder.
        config: every flag.
        stages: those after the model that were applied, in their order, each with what it was given.
        handed: by the last of all stages that were applied.
        weights: of the model that finds people.
        skeleton: of the people.
    """

    manifest: Manifest
    config: TrainConfig
    stages: Mapping[str, Handed]
    handed: Handed
    weights: Path
    skeleton: Skeleton

    @classmethod
    def open(cls, folder: Path, device: str) -> FinishedPipeline:
        """Reads the folder, and makes sure that nothing that is needed of it was altered.

        Raises:
            ConfigError: it is no pipeline's, or nothing in it can be used on new pictures.
            DataError: the manifest is broken.
        """
        manifest = Manifest.read(folder)
        if manifest is None:
            raise ConfigError(
                f"--pipeline {folder} is no pipeline. Make one: train_pose.py -STAGE all -PIPELINE FOLDER."
            )
        # Without a language model: words are made of what is shown in the end (--describe).
        config = replace(read_config({"pipeline": folder}), device=device, llm=None, llm_url=None)
        standing = list(Ledger(manifest, config, _silent).standing())
        handed = standing[-1][1] if standing else Handed({})
        if handed.weights is None:
            raise ConfigError(
                f"The pipeline {folder} has no model of its own: its baseline has not run, or is results of another "
                "program. Only one that trained its baseline can be used on new pictures."
            )
        stages = {name: before for (_, before), (name, _) in pairwise(standing) if name not in MODELS}
        return cls(manifest, config, stages, handed, handed.weights, load_skeleton(part_files(manifest)["calibrate"]))

    def describe(self) -> str:
        """One line: what changes what the model finds."""
        return f"pipeline {self.manifest.folder}: {', '.join(self.stages) or 'no stage'} after the model"

    def display(self) -> Display:
        """The thresholds that show the people of ``calibrate`` best, as the last stage left them.

        Raises:
            DataError: a file can't be read.
        """
        truth = load_ground_truth(part_files(self.manifest)["calibrate"], self.skeleton)
        people = read_predictions(self.handed.results["calibrate"], truth, self.skeleton)
        return choose_display(people, truth, self.skeleton)

    def find(self, files: Sequence[Path]) -> dict[Path, People]:
        """Everybody in the pictures that can be read, best first, in their pixels.

        Raises:
            SiaError: no picture can be read, or pictures or members of the pipeline are gone.
        """
        sizes = _sizes(files)
        root = Path(os.path.commonpath([file.absolute().parent for file in sizes]))
        with tempfile.TemporaryDirectory(prefix="sia-pipeline-") as temporary:
            folder = Path(temporary)
            parts = {**part_files(self.manifest), "test": self._write_pictures(folder, root, sizes)}
            work = StageWork(folder, self.config, self.config.coco_root, parts, {}, self.weights, _silent, root)
            people = read_predictions(self._run(work), work.truth("test", self.skeleton), self.skeleton)
        return {file: people.of_image(number).best_first().as_people() for number, file in enumerate(sizes, 1)}

    def _write_pictures(self, folder: Path, root: Path, sizes: Sizes) -> Path:
        """An annotation file of the pictures, without people."""
        path, test = folder / "pictures.json", part_files(self.manifest)["test"]
        images = [
            {"id": number, "file_name": file.absolute().relative_to(root).as_posix(), "width": width, "height": height}
            for number, (file, (height, width)) in enumerate(sizes.items(), 1)
        ]
        categories = read_json(test, "annotation file")["categories"]
        write_annotations(path, {"images": images, "annotations": [], "categories": categories})
        return path

    def _run(self, work: StageWork) -> Path:
        """The results file of the new pictures after the last stage."""
        found = work.folder / "found.json"
        write_predictions(self.weights, work, "test", found)
        for name, given in self.stages.items():
            folder = work.folder / name
            shutil.copytree(self.manifest.folder / self.manifest.stages[name].folder, folder)
            before = {**given.results, "test": found}
            result = load_stage(name)(replace(work, folder=folder, before=before, weights=given.weights))
            found = result.after.get("test", found)
        return found


def _silent(line: str) -> None:
    """What the stages chose is known: the report has it."""


def _sizes(files: Sequence[Path]) -> Sizes:
    """Of the pictures that can be read.

    Raises:
        DataError: none can be.
    """
    sizes = {file: _size(file) for file in files}
    readable = {file: size for file, size in sizes.items() if not isinstance(size, DataError)}
    for fault in () if readable else sizes.values():
        assert isinstance(fault, DataError)
        raise fault
    return readable


def _size(file: Path) -> tuple[int, int] | DataError:
    try:
        height, width = read_image(file).shape[:2]
    except DataError as error:
        return error
    return height, width
