"""A finished pipeline: a folder of fitted stages, which goes anywhere and is applied to images of any kind."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, to_builtins

from sia.errors import ConfigError, DataError
from sia.io.input_file import sha256_of
from sia.io.output_file import output_error, write_json
from sia.io.stored import Place, Sha256, read_stored
from sia.people import People
from sia.runtimes.predictor import Predictor
from sia.runtimes.views import agreement
from sia.skeletons.skeleton import Skeleton
from stages.stage import Image, Images, Stage, Surroundings, find_people

FILE = "pipeline.json"
FORMAT: Literal["sia_pose_fitted/1"] = "sia_pose_fitted/1"
FOLDER = "fitted"
"""Of a pipeline's and of a stage's folder: all that is needed to apply it."""
STATES = ("state.json", "manifest.json")
"""What shows that a folder is a pipeline's; the second name is that of the first edition."""
WEIGHTS = "model.pt"
_REMEDY = "Copy the folder of the pipeline again, or run train_pose.py -STAGE all -PIPELINE DIR again."

MODULES = {name: f"stages.{name}.stage" for name in ("ssl", "ensemble", "prior", "postprocess")}
MODULES["baseline"] = "stages.baseline"
"""Where the `STAGE` of each stage is; imported when it is its turn."""


def load_stage(name: str) -> Stage:
    """The contract of a stage."""
    stage: Stage = importlib.import_module(MODULES[name]).STAGE
    return stage


class Thresholds(Struct, frozen=True):
    """From which score and confidence on people and keypoints are shown."""

    score: float
    keypoint: float


class _Content(Struct):
    """The schema of pipeline.json.

    Attributes:
        stages: that change what the model finds, in their order; each has a folder of its name.
        files: sha256 of every other file, by its path here.
        versions: of what it was made with.
    """

    format: Literal["sia_pose_fitted/1"]  # `FORMAT`
    name: str
    stages: list[Literal["ensemble", "prior", "postprocess"]]
    display: Thresholds
    skeleton: dict[str, Any]
    files: dict[Place, Sha256]
    versions: dict[str, Any]


def write_fitted(
    pipeline: Path,
    model: Path,
    stages: Mapping[str, Path],
    display: Thresholds,
    skeleton: Skeleton,
    versions: Mapping[str, Any],
) -> Path:
    """Copies what is applied into ``pipeline/fitted``, in place of what was there; returns that folder.

    Args:
        pipeline: its folder.
        model: weights.
        stages: fitted folders by name, in their order.
        display: what shows the people best.
        skeleton: of the people.
        versions: of what it was made with.

    Raises:
        OutputError: it can't be written.
    """
    target, partial = pipeline / FOLDER, pipeline / f".{FOLDER}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shutil.copyfile(model, partial / WEIGHTS)
        for name, folder in stages.items():
            shutil.copytree(folder, partial / name)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        content = _Content(
            FORMAT, pipeline.absolute().name, list(stages), display, skeleton.to_dict(),  # type: ignore[arg-type]
            {path.relative_to(partial).as_posix(): sha256_of(path) for path in files}, dict(versions),
        )  # fmt: skip
        write_json(partial / FILE, to_builtins(content), indent=1)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        raise output_error(error, target) from error
    return target


@dataclass(frozen=True)
class FittedPipeline:
    """A finished pipeline, wherever it lies.

    Attributes:
        folder: of the fitted stages.
        content: what pipeline.json says.
        device: where it runs, as in ``--device``.
        batch_size: images that the model gets at once.
    """

    folder: Path
    content: _Content
    device: str
    batch_size: int

    @classmethod
    def open(cls, folder: Path, device: str = "auto", batch_size: int = 1) -> FittedPipeline:
        """Reads a pipeline's folder or that of its fitted stages, and makes sure that it is whole.

        Raises:
            ConfigError: it is no finished pipeline's.
            DataError: a file is broken, altered or gone.
        """
        place = folder if (folder / FILE).is_file() else folder / FOLDER
        if not (place / FILE).is_file():
            raise ConfigError(_problem_of(folder))
        content = read_stored(place / FILE, _Content, "list of fitted stages", _REMEDY)
        files = [(name, place / name, digest) for name, digest in content.files.items()]
        altered = [name for name, path, digest in files if not path.is_file() or sha256_of(path) != digest]
        if altered:
            raise DataError(f"{', '.join(altered)} in {place} was altered or removed. {_REMEDY}")
        return cls(place, content, device, batch_size)

    @property
    def weights(self) -> Path:
        """Of the model that finds people."""
        return self.folder / WEIGHTS

    def describe(self) -> str:
        """One line: what changes what the model finds."""
        return f"pipeline {self.content.name}: {', '.join(self.content.stages) or 'no stage'} after the model"

    def display(self) -> Thresholds:
        """Those that suit its labelled images."""
        return self.content.display

    @cached_property
    def skeleton(self) -> Skeleton:
        """Of the people."""
        return Skeleton.from_dict(self.content.skeleton)

    def finder(self, model: Predictor) -> Callable[[Sequence[Image]], list[People]]:
        """Opens the stages around an opened model; gives what finds the people of images, best first.

        Raises:
            SiaError: a file can't be used, or one that a stage refers to is gone.
        """
        around = Surroundings(self.device, self.batch_size, self.skeleton, model, self.folder)
        stages = [load_stage(name).load(self.folder / name, around) for name in self.content.stages]

        def find(arrays: Sequence[Image]) -> list[People]:
            images = Images.of(dict(enumerate(arrays)))
            people = found = find_people(model, images, self.batch_size)
            for stage in stages:
                people = stage.apply(people.as_read(), images)
            first = [found.of_image(number).as_people() for number in images.ids]
            last = [people.of_image(number).best_first().as_people() for number in images.ids]
            agreed = (agreement(after, before, self.skeleton) for before, after in zip(first, last, strict=True))
            return [replace(after, agreement=each) for after, each in zip(last, agreed, strict=True)]

        return find


def _problem_of(folder: Path) -> str:
    """Why a folder without fitted stages can't be used."""
    if any((folder / name).is_file() for name in STATES):
        if not (folder / STATES[0]).is_file():
            return (
                f"The pipeline {folder} is of the first edition, which kept no fitted stages. Run train_pose.py -STAGE "
                f"all -PIPELINE {folder} again: its splits and its trained baseline are used again."
            )
        return (
            f"The pipeline {folder} has no model of its own: its baseline has not run, or is results of another "
            "program. Only one that trained its baseline can be used on new images."
        )
    return f"--pipeline {folder} is no pipeline. Make one: train_pose.py -STAGE all -PIPELINE DIR."
