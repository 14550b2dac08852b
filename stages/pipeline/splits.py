"""Which images are to learn from, to calibrate with and to prove on; written once for a whole pipeline.

Images that are nearly the same, and frames of one video, stay together: otherwise a proof would be on images that
the model knows by heart.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datasets.coco.coco_pose import CocoPose
from datasets.validation.images import SIMILAR, common_name, fingerprint, video_names
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import Row, is_labelled, load_ground_truth, read_json, write_annotations
from sia.errors import ConfigError, DataError
from sia.evaluation.significance import FEWEST_GROUPS
from sia.io.input_file import sha256_of
from sia.io.output_file import write_json
from sia.io.stored import Count, Place, Sha256, read_stored
from stages.error_model.folds import deal
from stages.pipeline.state import REMEDY, State
from stages.stage import SPLITS
from utils.config.train_config import TrainConfig, flag_of

FILE = "splits.json"
SCARCE = 100
"""Calibration images below this are few."""
_READERS = 4


@dataclass(frozen=True)
class Image:
    """One image of the user's annotation files.

    Attributes:
        image_id: in its own file.
        file: relative to the image root.
        sha256: of the file.
        size: of the file, in bytes.
        group: images of one group are nearly the same, or of one video.
        part: one of `SPLITS`, or empty where it is left out.
    """

    image_id: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    file: Place
    sha256: Sha256
    size: Count
    group: Count
    part: Annotated[str, Meta(pattern=r"\A(fit|calibrate|test|)\Z")] = ""


class _Content(Struct):
    """The schema of splits.json."""

    seed: Count
    images: list[Image] | None = None
    pictures: list[Image] | None = None  # their key in the first edition


def prepare_splits(state: State, config: TrainConfig) -> None:
    """Divides the images of a new pipeline, or makes sure that those of an old one are the same.

    Raises:
        SiaError: they can't be used, or something was altered.
    """
    folder, given = state.folder / "splits", {"-TRAIN_ANN": config.train_ann, "-VAL_ANN": config.val_ann}
    if not state.splits:
        folder.mkdir(exist_ok=True)
        state.write()  # from here on the folder is one of a pipeline, also after a kill
        state.images_read = time.time()
        test = None if config.val_ann == config.train_ann else config.val_ann
        make_splits(folder, config.coco_root, config.train_ann, test, config.calibrate, config.seed)
        state.sources = {flag: state.store(path) for flag, path in given.items()}
        state.splits = [state.store(path) for path in (*state.split_files.values(), folder / FILE)]
        return
    for name in ("seed", "calibrate"):
        old, new = state.config.get(name), getattr(config, name)
        if old != new:
            raise ConfigError(f"{flag_of(name)} {old} -> {new} would change the splits of {state.folder}. {REMEDY}")
    for flag, path in given.items():
        if state.store(path).sha256 != state.sources[flag].sha256:
            raise ConfigError(f"{flag} {path} is not the file that {state.folder} began with. {REMEDY}")
    altered = state.altered(state.splits)
    if altered:
        raise DataError(f"{', '.join(altered)} in {state.folder} was altered or removed. Put it back. {REMEDY}")
    check_images(config.coco_root, read_splits(folder), state.images_read)


def make_splits(folder: Path, coco_root: Path, train: Path, test: Path | None, share: float, seed: int) -> list[Image]:
    """Divides the images and writes splits.json and a COCO file for each part; all keys of the entries are kept.

    Args:
        folder: for the files; it exists.
        coco_root: folder of the images.
        train: annotations to divide.
        test: annotations to prove on; None takes a part of `train` for it.
        share: of `train` for ``calibrate``, and as much again for ``test`` where that is taken from it.
        seed: of the choice, which depends on nothing else but the images.

    Raises:
        DataError: images or annotations that can't be used, or too few of them.
        OutputError: a file can't be written.
    """
    known = _read(coco_root, train)
    given = _read(coco_root, test) if test is not None else []
    skeletons = [CocoPose(coco_root, file).skeleton for file in (train, test) if file is not None]
    if len({skeleton.names for skeleton in skeletons}) > 1:
        raise DataError(f"-TRAIN_ANN {train} and -VAL_ANN {test} have different keypoints. Use files of one skeleton.")
    skeletons[0].refuse_several("-PIPELINE")
    images = _assign([*known, *given], len(known), share, seed)
    contents = {"train": (train, images[: len(known)]), "test": (test, images[len(known) :])}
    for part in SPLITS:
        source, chosen = contents["test" if part == "test" and test is not None else "train"]
        assert source is not None
        _write_part(folder / f"{part}.json", source, [image for image in chosen if image.part == part])
        _check_part(folder / f"{part}.json", skeletons[0])
    write_json(folder / FILE, {"seed": seed, "images": [asdict(image) for image in images]})
    return images


def make_folds(folder: Path, coco_root: Path, annotations: Path, count: int, seed: int) -> None:
    """Divides the images for cross-validation; writes train-1.json and val-1.json into the folder, and so on.

    Images of one group stay together. Arguments and errors: see `make_splits`.
    """
    read, skeleton = _read(coco_root, annotations), CocoPose(coco_root, annotations).skeleton
    images = [image for image, _ in read]
    members = _members(images, _groups(images, np.array([bits for _, bits in read])), seed)
    for number, fold in enumerate(deal(members, count), 1):
        out = {image.image_id for image in fold}
        for name, part in (("val", fold), ("train", [image for image in images if image.image_id not in out])):
            _write_part(folder / f"{name}-{number}.json", annotations, part)
            _check_part(folder / f"{name}-{number}.json", skeleton)


def read_splits(folder: Path) -> list[Image]:
    """Inverse of `make_splits`.

    Raises:
        DataError: splits.json is missing or broken.
    """
    content = read_stored(folder / FILE, _Content, "split", REMEDY)
    images = content.images or content.pictures
    if not images:
        raise DataError(f"{folder / FILE} names no images. {REMEDY}")
    return images


def describe(images: Sequence[Image]) -> str:
    """One line: how many images each part has, and what was kept together or left out."""
    counts = {part: sum(image.part == part for image in images) for part in (*SPLITS, "")}
    sizes = np.unique([image.group for image in images], return_counts=True)[1]
    text = ", ".join(f"{part} {counts[part]}" for part in SPLITS)
    if (sizes > 1).any():
        text += f"; {sizes[sizes > 1].sum()} images in {(sizes > 1).sum()} groups of near-duplicates or videos"
    few = len({image.group for image in images if image.part == "test"})
    if few < FEWEST_GROUPS and few < counts["test"]:
        text += f"; test has {few} groups only, so its intervals take each image by itself and are too narrow"
    name = common_name([image.file for image in images])
    if name is not None:
        text += f"; images called {name}... are taken for photographs: if of one video, give others as -VAL_ANN"
    if counts[""]:
        text += f"; {counts['']} left out, as they are nearly the same as images of -VAL_ANN"
    if counts["calibrate"] < SCARCE:
        text += f"; fewer than {SCARCE} to calibrate with: expect stages to be refused"
    return text


def check_images(coco_root: Path, images: Iterable[Image], since: float) -> None:
    """Whether the images are still those of the split; only files changed after `since` (seconds) are read.

    Raises:
        DataError: one is missing or was altered.
    """
    for image in images:
        file = coco_root / image.file
        try:
            status = file.stat()
            touched = max(status.st_mtime, status.st_ctime) > since
            same = status.st_size == image.size and (not touched or sha256_of(file) == image.sha256)
        except OSError as error:
            raise DataError(f"Can't read the image {file}: {error.strerror}. The pipeline needs it.") from None
        if not same:
            raise DataError(
                f"The image {file} was altered since the pipeline began. Put it back, or start anew in another "
                "-PIPELINE folder."
            )


def _read(coco_root: Path, annotations: Path) -> list[tuple[Image, NDArray[np.uint64]]]:
    """The images of a file, and their fingerprints."""
    data = CocoPose(coco_root, annotations)

    def read(index: int) -> tuple[Image, NDArray[np.uint64]]:
        file = data.file(index)
        name = file.relative_to(coco_root).as_posix()
        image = Image(data.image_id(index), name, sha256_of(file), file.stat().st_size, 0)
        return image, fingerprint(data.read_image(index))

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, range(len(data))))


def _assign(read: Sequence[tuple[Image, NDArray[np.uint64]]], known: int, share: float, seed: int) -> list[Image]:
    """Gives each image its group and part; the first `known` are to be divided, the others are ``test``."""
    images = [image for image, _ in read]
    groups = _groups(images, np.array([bits for _, bits in read]))
    tested = set(groups[known:].tolist())
    wanted = {"test": 0.0 if tested else share * known, "calibrate": share * known}
    part_of = _fill([p for p, _ in read[:known]], groups[:known], tested, wanted, seed)
    return [
        Image(p.image_id, p.file, p.sha256, p.size, int(group), "test" if i >= known else part_of[int(group)])
        for i, (p, group) in enumerate(zip(images, groups, strict=True))
    ]


def _fill(
    images: Sequence[Image], groups: NDArray[np.int64], tested: set[int], wanted: Mapping[str, float], seed: int
) -> dict[int, str]:
    """The part of each group: in an order that only the images and the seed decide, wherever it still fits."""
    number_of = {image.image_id: group for image, group in zip(images, groups.tolist(), strict=True)}
    left, part_of = dict(wanted), {}
    for members in _members(images, groups, seed):
        group, size = number_of[members[0].image_id], len(members)
        part = next((name for name, room in left.items() if size <= room + 0.5), "fit")
        part_of[group] = "" if group in tested else part
        if part_of[group] in left:
            left[part] -= size
    return part_of


def _members(images: Sequence[Image], groups: NDArray[np.int64], seed: int) -> list[list[Image]]:
    """The images of each group, in an order of the groups that only the images and the seed decide."""
    members: dict[int, list[Image]] = {}
    for image, group in zip(images, groups.tolist(), strict=True):
        members.setdefault(group, []).append(image)

    def rank(group: list[Image]) -> bytes:
        return hashlib.sha256(f"{seed} {min(image.sha256 for image in group)}".encode()).digest()

    return sorted(members.values(), key=rank)


def _groups(images: Sequence[Image], bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(N,) number of each image's group: linked by a fingerprint or by a video, directly or through others."""
    videos = video_names([image.file for image in images])
    firsts: dict[str, int] = {}
    pairs = [(i, firsts.setdefault(video, i)) for i, video in enumerate(videos) if video is not None]
    for i in range(len(bits)):
        apart = np.bitwise_count(bits[i + 1 :] ^ bits[i]).sum(axis=1, dtype=np.int64)
        pairs += [(i, i + 1 + int(other)) for other in np.flatnonzero(apart <= SIMILAR)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(bits), len(bits)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _write_part(path: Path, source: Path, images: Sequence[Image]) -> None:
    """The entries of some images; the file names are relative to the image root, whatever folders lie in it."""
    content = parse(read_json(source, "annotation file")).content
    files = {image.image_id: image.file for image in images}
    image_rows: list[Row] = [{**row, "file_name": files[row["id"]]} for row in content["images"] if row["id"] in files]
    # Annotations of categories without keypoints may name anything.
    named = [row for row in content["annotations"] if isinstance(row.get("image_id"), int)]
    people: list[Row] = [row for row in named if row["image_id"] in files]
    write_annotations(path, {**content, "images": image_rows, "annotations": people})


def _check_part(path: Path, skeleton: Any) -> None:
    """Whether there is somebody to learn from, or to be found."""
    content = read_json(path, "annotation file")
    try:
        people = load_ground_truth(content, skeleton).people if content["images"] else []
    except DataError:
        people = []
    if not any(map(is_labelled, people)):
        raise DataError(
            f"The part '{path.stem}' has {len(content['images'])} images and nobody with labelled keypoints. "
            "Give more labelled images, or a larger -CALIBRATE share."
        )
