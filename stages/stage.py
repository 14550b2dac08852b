"""The contract of a stage: it is fitted once, kept in a folder, and applied from there to images anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from datasets.coco.coco_pose import CocoPose
from sia.errors import DataError
from sia.evaluation.predictions import Predictions, people_of_rows
from sia.io.images import read_image
from sia.io.input_file import check_input_file
from sia.io.output_file import output_error, write_json
from sia.io.results import Row, coco_rows
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import Skeleton
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext

SPLITS = ("fit", "calibrate", "test")
"""Images to learn from, to choose and calibrate with, and to prove on. A stage gets the first two."""

FIT = "fit.json"
REMEDY = "Copy the folder of the pipeline again, or run the stage again."
_READERS = 4

Image = NDArray[np.uint8]
Saved = TypeVar("Saved")


class StageInterrupted(Exception):
    """A signal stopped a stage after everything was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@dataclass(frozen=True)
class Images:
    """Images by their ids, each read when it is asked for.

    Attributes:
        ids: of the images, in their order.
        read: gives (H, W, 3) uint8 RGB, or raises `DataError`.
        size: gives height and width.
    """

    ids: tuple[int, ...]
    read: Callable[[int], Image]
    size: Callable[[int], tuple[int, int]]

    @classmethod
    def of_split(cls, data: CocoPose) -> Images:
        """Those of an annotation file."""
        rows = {image_id: row for row, image_id in enumerate(data.image_ids)}
        return cls(tuple(rows), lambda number: data.read_image(rows[number]), lambda number: data.size(rows[number]))

    @classmethod
    def of(cls, images: Mapping[int, Image | Path]) -> Images:
        """Arrays, or files."""

        @lru_cache(maxsize=1)
        def read(image_id: int) -> Image:
            image = images[image_id]
            return read_image(image) if isinstance(image, Path) else image

        def size(image_id: int) -> tuple[int, int]:
            height, width = read(image_id).shape[:2]
            return height, width

        return cls(tuple(images), read, size)

    def select(self, ids: Sequence[int]) -> Images:
        """Some of them."""
        return Images(tuple(ids), self.read, self.size)


@dataclass(frozen=True)
class StageInput:
    """What a stage is fitted with.

    Attributes:
        folder: of this stage alone; it exists. What is complete in it from an earlier call may be used again.
        config: every flag.
        splits: the annotation files of ``fit`` and ``calibrate``.
        results: what the stages before have found in ``calibrate``, a results file; None for the first stage.
        weights: of the model that stands, where there is one.
        held_out: files of images that nobody may learn from.
        groups: of the images of ``calibrate``, by id: nearly the same images, or frames of a video, have one number.
        ranks: this process among those that call together.
        say: prints a line, on the first rank.
        argv: the command line, for the record.
    """

    folder: Path
    config: TrainConfig
    splits: Mapping[str, Path]
    results: Path | None
    weights: Path | None
    held_out: Sequence[Path]
    groups: Mapping[int, int]
    ranks: DistributedContext
    say: Callable[[str], None]
    argv: tuple[str, ...] = ()

    def data(self, split: str, skeleton: Skeleton | None = None) -> CocoPose:
        """The images and labels of a split.

        Raises:
            DataError: they can't be used, or have other keypoints than the skeleton's.
        """
        return CocoPose(self.config.coco_root, self.splits[split], skeleton=skeleton)


@dataclass(frozen=True)
class Surroundings:
    """What a fitted stage finds where it is loaded.

    Attributes:
        device: where networks run, as in ``--device``.
        batch_size: images that the model gets at once.
        skeleton: of the people.
        model: finds people; None for the stages that are one.
        folder: where files that a stage only refers to may lie, when the pipeline was moved with them.
    """

    device: str
    batch_size: int
    skeleton: Skeleton
    model: Predictor | None
    folder: Path


class Fitted(Protocol):
    """A fitted stage."""

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """The people of the images after this stage; a model finds them anew, whoever comes in.

        Each image is done by itself: what is found in it depends on no other.

        Raises:
            SiaError: an image can't be read, or numbers are not finite.
        """

    def save(self, folder: Path) -> None:
        """Writes all that `Stage.load` needs into an empty folder.

        Raises:
            OutputError: a file can't be written.
        """


@dataclass(frozen=True)
class StageFit:
    """What fitting gave, on the first rank; on the others only `fitted` and `people` may differ.

    Attributes:
        fitted: the stage; None where it hands on what came in.
        people: of ``calibrate``: of each image as if the stage had not seen its labels.
        declined: why it should not be applied, decided on ``calibrate`` alone; empty otherwise.
        figures: what the report tells about it: plain types, by name.
        images: files in the folder that the report shows.
    """

    fitted: Fitted | None = None
    people: Predictions | None = None
    declined: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[Path] = ()


@dataclass(frozen=True)
class Stage:
    """One stage; each module of one has it as ``STAGE``.

    Attributes:
        fit: learns from ``fit``, decides on ``calibrate``; all ranks call it. The same input gives the same.
        load: a fitted stage out of its folder.
        fields: of the configuration: what decides the result. Another value, and the stage is fitted anew.
        files: that decide the result too, by their content.
        images: that do by their names and sizes, as there may be very many.
        show: tells and draws for the report what was found in ``test``, without its labels: figures, and files.
    """

    fit: Callable[[StageInput], StageFit]
    load: Callable[[Path, Surroundings], Fitted]
    fields: tuple[str, ...]
    files: Callable[[TrainConfig], Sequence[Path]] = lambda config: ()
    images: Callable[[TrainConfig], Sequence[Path]] = lambda config: ()
    show: Callable[[StageInput, StageFit, Predictions, CocoPose], tuple[dict[str, Any], list[Path]]] | None = None


def apply_together(fitted: Fitted, people: Predictions, images: Images, ranks: DistributedContext) -> Predictions:
    """`Fitted.apply` with the images shared out over all ranks; the result is on each.

    Raises:
        SiaError: of any rank.
    """
    mine = images.select(images.ids[ranks.rank :: ranks.world_size])
    part = Predictions.nobody(people.keypoints.shape[1])
    with ranks.shared_errors():
        part = fitted.apply(people.of_images(mine.ids) if ranks.world_size > 1 else people, mine)
    if ranks.world_size == 1:
        return part
    everybody = Predictions.join(ranks.gather(part))
    return everybody.select(np.argsort(everybody.image_ids, kind="stable"))


def find_people(model: Predictor, images: Images, batch_size: int) -> Predictions:
    """All candidates that a model finds, however low their score, as COCO's results would hold them.

    Raises:
        SiaError: an image can't be read, or the model gives numbers that are not finite.
    """
    rows: list[Row] = []
    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(images.ids), batch_size):
            ids = images.ids[start : start + batch_size]
            found = model.predict(list(readers.map(images.read, ids)))
            for image_id, people in zip(ids, found, strict=True):
                rows += coco_rows(people, model.skeleton, image_id)
    everybody = people_of_rows(rows, model.skeleton.num_keypoints)
    return everybody.select(np.argsort(everybody.image_ids, kind="stable"))


def save_fit(folder: Path, fit: Any) -> None:
    """Writes a dataclass of numbers, text and arrays as fit.json; infinity becomes the largest number.

    Raises:
        OutputError: it can't be written.
    """
    write_json(folder / FIT, msgspec.to_builtins(fit, enc_hook=_plain))


def load_fit(folder: Path, schema: type[Saved]) -> Saved:
    """Inverse of `save_fit`.

    Raises:
        DataError: the file is missing or broken.
    """
    path = folder / FIT
    check_input_file(path, REMEDY, DataError)
    try:
        return msgspec.json.decode(path.read_bytes(), type=schema, dec_hook=_array)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:  # msgspec's are ValueErrors
        raise DataError(f"The fitted stage {path} can't be used: {problem}. {REMEDY}") from None


def _plain(array: NDArray[Any]) -> dict[str, Any]:
    return {"shape": array.shape, "values": np.nan_to_num(array).ravel().tolist()}


def _array(kind: Any, value: Any) -> Any:
    """An array of the annotated type, such as ``NDArray[np.float64]``."""
    (number,) = get_args(get_args(kind)[1])
    return np.array(value["values"], dtype=number).reshape(value["shape"])


def copy_file(source: Path, target: Path) -> None:
    """Copies a file.

    Raises:
        OutputError: it can't be.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise output_error(error, target) from error
