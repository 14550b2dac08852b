"""A data set of synthetic people on disk: images and COCO keypoint annotations, made without a download.

Layout: ``images/{train,val}/NNNNNN.jpg``, ``train.json``, ``val.json`` and, written last, ``dataset.json``.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2

from datasets.synthetic.scene.scene import Scene, SyntheticPerson, SyntheticScenes
from sia.errors import ConfigError, OutputError
from sia.io.output_file import complete_file, output_error, write_json
from sia.skeletons.skeleton import COCO_PERSON

VERSION = 1
"""Raised whenever the same arguments would give other images."""

SPLITS = ("train", "val")
CLOSE_PEOPLE, CLOSE_FRACTION = 3, 1 / 3
"""A close scene has one to three people, the longer side of whose boxes is at least a third of the image's."""

_TRIES_APART = 1_000_000
_DONE, _MARK = "dataset.json", "dataset.partial.json"
_JPEG_QUALITY = 95
_LIMITS = {"train": (1, 999_999), "val": (1, 999_999), "size": (32, 4096), "seed": (0, 2**63 - 1)}

_Record: TypeAlias = dict[str, Any]
"""One entry of a COCO file."""


@dataclass(frozen=True)
class _Arguments:
    train: int
    val: int
    size: int
    seed: int
    close: bool
    version: int = VERSION


def write_dataset(
    output: Path,
    train: int,
    val: int,
    size: int,
    seed: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    close: bool = False,
) -> bool:
    """Writes the data set, or finds it complete already.

    Args:
        output: the folder; new, empty, or left by an interrupted call with the same arguments.
        train: number of training images.
        val: number of validation images; their scenes are never among the training ones.
        size: side of the square images in pixels.
        seed: 0 or more; the images depend on it, on their number, and on nothing else.
        workers: processes that draw; 0 or 1 draws in this one.
        progress: called with 1 after each image.
        close: whether to keep scenes of a few large people only, which little training can learn.

    Returns:
        False where a complete data set of the same arguments was found.

    Raises:
        ConfigError: a number that makes no sense.
        OutputError: the folder holds something else, or can't be written.
    """
    arguments = _Arguments(train, val, size, seed, close)
    for name, (low, high) in _LIMITS.items():
        if not low <= getattr(arguments, name) <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, but is {getattr(arguments, name)}.")
    if workers < 0:
        raise ConfigError(f"--workers must be 0 or more, but is {workers}.")
    try:
        if _is_complete(output, arguments):
            return False
        _write_splits(output, arguments, workers, progress)
    except OSError as error:
        raise output_error(error, output) from error
    return True


def _is_complete(output: Path, arguments: _Arguments) -> bool:
    """Whether the folder already holds this data set.

    Raises:
        OutputError: it holds something else.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file; choose another folder with --output.")
    if not output.is_dir() or not any(output.iterdir()):
        return False
    for name in (_DONE, _MARK):
        if (output / name).is_file():
            try:
                found = json.loads((output / name).read_text(encoding="utf-8"))
            except (ValueError, RecursionError):
                found = None
            if found == asdict(arguments):
                return name == _DONE
            raise OutputError(
                f"{output} holds synthetic people made with {found}, not with {asdict(arguments)}; "
                "choose another folder with --output, or delete this one."
            )
    raise OutputError(f"{output} is not empty and holds no synthetic people; choose another folder with --output.")


def _write_splits(output: Path, arguments: _Arguments, workers: int, progress: Callable[[int], None] | None) -> None:
    """Everything, between the mark of a folder at work and the record of a complete one."""
    for split in SPLITS:
        (output / "images" / split).mkdir(parents=True, exist_ok=True)
    write_json(output / _MARK, asdict(arguments))
    first = 1
    for split, count in zip(SPLITS, (arguments.train, arguments.val), strict=True):
        images: list[_Record] = []
        rows: list[_Record] = []
        for image, people in _draw_all(partial(_draw_one, output, split, arguments, first), count, workers):
            images.append(image)
            rows += [{"id": number} | row for number, row in enumerate(people, len(rows) + 1)]
            if progress is not None:
                progress(1)
        write_json(output / f"{split}.json", _coco_header(split, arguments) | {"images": images, "annotations": rows})
        first += count
    write_json(output / _DONE, asdict(arguments))
    (output / _MARK).unlink()


_Drawn: TypeAlias = tuple[_Record, list[_Record]]
"""An image record and its annotations, which have no ids yet."""


def _draw_all(draw: Callable[[int], _Drawn], count: int, workers: int) -> Iterator[_Drawn]:
    if workers <= 1:
        yield from map(draw, range(count))
        return
    # Unlike multiprocessing.Pool, an executor hears of a worker that was ended from outside.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        try:
            yield from pool.map(draw, range(count), chunksize=8)
        except BrokenProcessPool as error:
            raise OutputError(
                "A process that draws was ended from outside, most likely because memory is full. Use fewer --workers; "
                "the same command finishes the folder."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread each; Ctrl-C is for the process that started them, and without that one they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draw_one(output: Path, split: str, arguments: _Arguments, first_id: int, index: int) -> _Drawn:
    """Draws and writes one image: the first of the scenes of this index that suits."""
    scenes = SyntheticScenes(arguments.size, arguments.seed, SPLITS.index(split))
    tries = (scenes.scene(number) for number in itertools.count(index, _TRIES_APART))
    scene = next(scene for scene in tries if not arguments.close or _is_close(scene))
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    name = f"{index:06d}.jpg"
    with complete_file(output / "images" / split / name) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
    image = {"id": first_id + index, "file_name": name, "width": arguments.size, "height": arguments.size}
    return image, [_coco_row(person, first_id + index) for person in scene.people]


def _is_close(scene: Scene) -> bool:
    smallest = min((max(person.box[2:]) for person in scene.people), default=0.0)
    return len(scene.people) <= CLOSE_PEOPLE and smallest >= CLOSE_FRACTION * scene.image.shape[0]


def _coco_row(person: SyntheticPerson, image_id: int) -> _Record:
    keypoints = [(round(x, 2), round(y, 2), int(v)) for x, y, v in person.keypoints.tolist()]
    return {
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": sum(v > 0 for _, _, v in keypoints),
        "keypoints": list(itertools.chain.from_iterable(keypoints)),
        "bbox": [round(value, 2) for value in person.box],
        "area": round(person.area, 2),
        "segmentation": [],
    }


def _coco_header(split: str, arguments: _Arguments) -> _Record:
    category = {
        "id": 1,
        "name": COCO_PERSON.category,
        "supercategory": "person",
        "keypoints": list(COCO_PERSON.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO_PERSON.edges],
    }
    info = {"description": f"Synthetic people, {split}", "version": str(VERSION), "seed": arguments.seed}
    return {"info": info, "licenses": [], "categories": [category]}
