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
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from datasets.synthetic.scene import Scene, SyntheticPerson, SyntheticScenes
from sia.errors import ConfigError, OutputError
from sia.skeletons.skeleton import COCO_PERSON

VERSION = 1
"""Raised whenever the same arguments would give other images."""

SPLITS = ("train", "val")
CLOSE_PEOPLE, CLOSE_SHARE = 3, 1 / 3
"""A close scene has one to three people, the longer side of whose boxes is at least a third of the image's."""
_TRIES_APART = 1_000_000
_DONE, _MARK = "dataset.json", "dataset.partial.json"
_JPEG_QUALITY = 95


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
    arguments = _checked(_Arguments(train, val, size, seed, close), workers)
    with _readable_errors(output):
        if _is_complete(output, arguments):
            return False
        _write_splits(output, arguments, workers, progress)
    return True


def _write_splits(output: Path, arguments: _Arguments, workers: int, progress: Callable[[int], None] | None) -> None:
    """Everything, between the mark of a folder at work and the record of a complete one."""
    for split in SPLITS:
        (output / "images" / split).mkdir(parents=True, exist_ok=True)
    _write_json(output / _MARK, asdict(arguments))
    first = 1
    for split, count in zip(SPLITS, (arguments.train, arguments.val), strict=True):
        annotations = _coco_header(split, arguments)
        for image, people in _draw_all(output, split, count, arguments, first, workers):
            annotations["images"].append(image)
            annotations["annotations"] += [
                {"id": len(annotations["annotations"]) + i} | row for i, row in enumerate(people, 1)
            ]
            if progress is not None:
                progress(1)
        _write_json(output / f"{split}.json", annotations)
        first += count
    _write_json(output / _DONE, asdict(arguments))
    (output / _MARK).unlink()


def _checked(arguments: _Arguments, workers: int) -> _Arguments:
    for name, low, high in (("train", 1, 999_999), ("val", 1, 999_999), ("size", 32, 4096), ("seed", 0, 2**63 - 1)):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise ConfigError(f"--{name} must be from {low} to {high}, but is {value}.")
    if workers < 0:
        raise ConfigError(f"--workers must be 0 or more, but is {workers}.")
    return arguments


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
            found = _read_json(output / name)
            if found == asdict(arguments):
                return name == _DONE
            raise OutputError(
                f"{output} holds synthetic people made with {found}, not with {asdict(arguments)}; "
                "choose another folder with --output, or delete this one."
            )
    raise OutputError(f"{output} is not empty and holds no synthetic people; choose another folder with --output.")


def _draw_all(
    output: Path, split: str, count: int, arguments: _Arguments, first_id: int, workers: int
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    draw = partial(_draw_one, str(output), split, arguments, first_id)
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
                f"the same command finishes {output}."
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


def _draw_one(
    output: str, split: str, arguments: _Arguments, first_id: int, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draws and writes one image; its COCO image record and the annotations without their ids."""
    scene = _draw_scene(SyntheticScenes(arguments.size, arguments.seed, SPLITS.index(split)), index, arguments.close)
    name = f"{index:06d}.jpg"
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    _write(Path(output) / "images" / split / name, encoded.tobytes())
    image = {"id": first_id + index, "file_name": name, "width": arguments.size, "height": arguments.size}
    return image, [_coco_row(person, first_id + index) for person in scene.people]


def _draw_scene(scenes: SyntheticScenes, index: int, close: bool) -> Scene:
    """The first of the scenes of this index that suits."""
    for number in itertools.count(index, _TRIES_APART):
        scene = scenes.scene(number)
        if not close or _is_close(scene):
            return scene
    raise AssertionError("there is always another scene")


def _is_close(scene: Scene) -> bool:
    smallest = min((max(person.box[2:]) for person in scene.people), default=0.0)
    return len(scene.people) <= CLOSE_PEOPLE and smallest >= CLOSE_SHARE * scene.image.shape[0]


def _coco_row(person: SyntheticPerson, image_id: int) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
        "keypoints": [
            value for x, y, v in person.keypoints.tolist() for value in (round(x, 2), round(y, 2), int(v))
        ],
        "bbox": [round(value, 2) for value in person.box],
        "area": round(person.area, 2),
        "segmentation": [],
    }  # fmt: skip


def _coco_header(split: str, arguments: _Arguments) -> dict[str, Any]:
    category = {
        "id": 1,
        "name": COCO_PERSON.category,
        "supercategory": "person",
        "keypoints": list(COCO_PERSON.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO_PERSON.edges],
    }
    info = {"description": f"Synthetic people, {split}", "version": str(VERSION), "seed": arguments.seed}
    return {"info": info, "licenses": [], "categories": [category], "images": [], "annotations": []}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _write_json(path: Path, content: Any) -> None:
    _write(path, json.dumps(content).encode())


def _write(path: Path, content: bytes) -> None:
    """Never leaves a half-written file under its final name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _readable_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"Can't write the synthetic people to {output}: {error.strerror or error}.") from error
