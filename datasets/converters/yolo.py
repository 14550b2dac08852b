"""YOLO-pose labels (https://docs.ultralytics.com/datasets/pose/): a text file an image, and data.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.converters.coco_writer import CocoWriter, Joint, order_of_names
from sia.errors import DataError
from sia.io.images import image_size, image_suffixes
from sia.io.input_file import check_input_file
from sia.skeletons.skeleton import COCO_PERSON, DECLARED, Skeleton
from utils.yaml_file import load_yaml


def import_yolo(file: Path, images: Path, labels: Path | None = None, wanted: Skeleton | None = None) -> CocoWriter:
    """All images of one split.

    Paths in data.yaml are not followed: the folders are given.

    Args:
        file: data.yaml; ``kpt_shape``, ``flip_idx``, ``names`` and ``kpt_names`` are read.
        images: folder of the images, such as images/train; those below it count as well.
        labels: folder of the text files; by default that of the images with ``labels`` in place of ``images``.
        wanted: names of the keypoints, where the file has none and they aren't COCO's seventeen.

    Raises:
        DataError: what is wrong, in which line, and how to fix it.
    """
    dims, classes, skeleton = _read_yaml(file, wanted)
    labels = labels or _label_folder(images)
    for folder, flag in ((images, "--img_dir"), (labels, "--label_dir")):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Check {flag}.")
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in image_suffixes())
    texts = {path.relative_to(images).with_suffix(".txt"): path for path in files}
    _check_pairs(labels, texts, len(files), images)
    writer = CocoWriter(file, skeleton, classes)
    for text, path in texts.items():
        width, height = image_size(path)
        image_id = writer.add_image(path.relative_to(images).as_posix(), width, height)
        if not (labels / text).is_file():
            writer.report["images without a label file: taken as background"] += 1
            continue
        for row in _read_rows(labels / text, skeleton.num_keypoints, dims, len(classes)):
            x, y, w, h = (value * side for value, side in zip(row[1:5], (width, height) * 2, strict=True))
            joints: dict[str, Joint] = {}
            for name, (px, py, *v) in zip(skeleton.names, _points(row, dims), strict=True):
                seen = int(v[0]) if v else 2 * (px != 0 or py != 0)  # without v, a keypoint at (0, 0) is not labelled
                joints[name] = (px * width, py * height, seen)
            writer.add_person(image_id, joints, (x - w / 2, y - h / 2, w, h), int(row[0]))
    return writer


def _read_yaml(file: Path, wanted: Skeleton | None) -> tuple[int, list[str], Skeleton]:
    """Values a keypoint, names of the classes, and the skeleton."""
    content = load_yaml(file, "The file", "Give data.yaml as --input.")
    shape: Any = content.get("kpt_shape") if isinstance(content, dict) else None
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(number) is int for number in shape)
    if not (whole and shape[0] > 0 and shape[1] in (2, 3)):
        raise DataError(f"{file}: kpt_shape is {shape!r:.40}. Give [number of keypoints, 2 or 3].")
    classes = _as_list(content.get("names"))
    if not classes or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{file}: names is {content.get('names')!r:.60}. Give the name of each class.")
    return shape[1], classes, _skeleton(file, content, shape[0], classes[0], wanted)


def _as_list(value: Any) -> list[Any]:
    """A list, or a mapping from 0, 1, 2, ...; empty where it is neither."""
    if isinstance(value, dict) and sorted(map(str, value)) == sorted(map(str, range(len(value)))):
        return [value[key] for key in sorted(value, key=int)]
    return value if isinstance(value, list) else []


def _skeleton(file: Path, content: dict[str, Any], count: int, category: str, wanted: Skeleton | None) -> Skeleton:
    named = _as_list(content.get("kpt_names"))
    names = [str(name) for name in named[0]] if named and isinstance(named[0], list) else []
    if wanted is not None:
        skeleton = wanted
    elif names:
        skeleton = order_of_names(names, [], category)
        if skeleton.names != tuple(names):  # text files have no names, so COCO's in another order keep that order
            skeleton = Skeleton.from_category({"name": category, "keypoints": names})
    elif count == COCO_PERSON.num_keypoints:
        skeleton = Skeleton.from_dict({**COCO_PERSON.to_dict(), "category": category})
    else:
        raise DataError(f"{file}: it has no kpt_names. Name its {count} keypoints with --category FILE.")
    if skeleton.num_keypoints != count:
        raise DataError(f"{file}: kpt_shape says {count} keypoints, but there are {skeleton.num_keypoints} names.")
    return _flipped(file, skeleton, content.get("flip_idx"))


def _flipped(file: Path, skeleton: Skeleton, order: Any) -> Skeleton:
    """With the pairs that ``flip_idx`` says, where it is there."""
    if order is None:
        return skeleton
    k = skeleton.num_keypoints
    swaps = isinstance(order, list) and all(type(i) is int for i in order) and sorted(order) == list(range(k))
    if not swaps or any(order[order[i]] != i for i in range(k)):
        raise DataError(f"{file}: flip_idx {order!r:.60} doesn't swap {k} keypoints in pairs. Correct it.")
    pairs = [(i, j) for i, j in enumerate(order) if i < j]
    return Skeleton.from_dict({**skeleton.to_dict(), "flip_pairs": pairs, "flips": DECLARED})


def _label_folder(images: Path) -> Path:
    parts = list(images.parts)
    if "images" not in parts:
        raise DataError(f"{images}: no 'images' in this path to put 'labels' in its place. Give --label_dir.")
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _check_pairs(labels: Path, texts: dict[Path, Path], count: int, images: Path) -> None:
    if len(texts) < count:
        raise DataError(f"{images}: {count - len(texts)} images share their name with another. Rename them.")
    alone = [path for path in sorted(labels.rglob("*.txt")) if path.relative_to(labels) not in texts]
    if alone:
        raise DataError(f"{labels}: {len(alone)} label files have no image in {images}, such as {alone[0].name}.")


def _points(row: list[float], dims: int) -> list[list[float]]:
    return [row[start : start + dims] for start in range(5, len(row), dims)]


def _read_rows(file: Path, count: int, dims: int, classes: int) -> Iterator[list[float]]:
    """The rows of one text file as numbers."""
    check_input_file(file, "Replace or remove it.")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't read it ({error}). Replace or remove it.") from None
    for number, line in enumerate(lines, 1):
        words, place = line.split(), f"{file}, line {number}"
        if not words:
            continue
        if len(words) != 5 + count * dims:
            raise DataError(f"{place}: {len(words)} values, but class, box and keypoints make {5 + count * dims}.")
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise DataError(f"{place}: {error}. Write it again.") from None
        if row[0] not in range(classes):
            raise DataError(f"{place}: class {words[0]}, but names has {classes}.")
        odd = [v for v in row[7::3] if v not in (0, 1, 2)] if dims == 3 else []
        if odd:
            raise DataError(f"{place}: visibility {odd[0]:g}. Use 0 (unlabelled), 1 (hidden) or 2 (seen).")
        if not all(-1 <= value <= 2 for value in row[1:5]):
            raise DataError(f"{place}: box {words[1:5]} is not in fractions of the image, 0 to 1.")
        for point in _points(row, dims):
            if point[-1] != 0 and any(value < -1 or value > 2 for value in point[:2]):
                raise DataError(f"{place}: keypoint {point[:2]} is not in fractions of the image, 0 to 1.")
        yield row
