"""Reads and checks a COCO keypoint json. Every fault is one `DataError` that says what, which and how to mend it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from datasets.image_name import problem_of_name
from utils.coco_files import AREA_OF_BOX
from utils.errors import DataError
from utils.skeleton import Skeleton

Row = dict[str, Any]

OUTSIDE_TOLERANCE = 1.0
"""Pixels by which a labelled joint may leave the image: rounding, not a mistake."""


@dataclass(frozen=True)
class CocoFile:
    """N images, M people sorted by image, R ignored areas sorted by image. Arrays, so that workers share memory.

    Attributes:
        skeleton: of the category that has keypoints.
        image_ids: (N,) int64.
        sizes: (N, 2) int32, height and width.
        names: (N,) str, paths relative to the image root.
        owners: (M,) int64, index of the image of each person.
        boxes: (M, 4) float32, x1 y1 x2 y2, cut at the image border.
        keypoints: (M, K, 3) float32.
        areas: (M,) float32.
        ignored_owners: (R,) int64.
        ignored: (R, 4) float32, crowd regions, and whole images that are not completely labelled.
        report: how many annotations or joints were not used as they stand, by reason.
    """

    skeleton: Skeleton
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int32]
    names: NDArray[np.str_]
    owners: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    areas: NDArray[np.float32]
    ignored_owners: NDArray[np.int64]
    ignored: NDArray[np.float32]
    report: dict[str, int]


def read_coco_file(file: Path, skeleton: Skeleton | None = None, *, labelled: bool = True) -> CocoFile:
    """Reads the file, checks all of it, and keeps what training and evaluation need.

    Args:
        file: COCO keypoint annotations, https://cocodataset.org/#format-data.
        skeleton: if given, the file must declare the same keypoints, and this skeleton's sigmas and pairs are used.
        labelled: whether there has to be somebody; not where pictures are only looked at.

    Raises:
        DataError: the first fault found.
    """
    content = _Reader(file, skeleton).read()
    if labelled and not len(content.boxes):
        raise DataError(
            f"{file}: no annotation is a person. Give the annotation file of a keypoint data set with people in it."
        )
    return content


class _Reader:
    """Holds the file name for messages, and the counts of what is not used."""

    def __init__(self, file: Path, skeleton: Skeleton | None) -> None:
        self.file = file
        self.wanted = skeleton
        self.report: Counter[str] = Counter()

    def fail(self, message: str) -> NoReturn:
        raise DataError(f"{self.file}: {message}")

    def read(self) -> CocoFile:
        sections = self._sections()
        skeleton, categories = self._categories(sections["categories"])
        images = sections["images"]
        image_ids = self._ids(images, "images", "id")
        sizes = self._sizes(images)
        rows = self._used(sections["annotations"], categories)
        owners = self._owners(rows, image_ids)
        boxes = self._boxes(rows)
        crowd = np.array([bool(row.get("iscrowd", 0)) for row in rows], bool)
        cut = _cut(boxes, sizes[owners])
        inside = (cut[:, 2:] > cut[:, :2]).all(axis=1)
        self._count("annotations not used: box wholly outside the image", int((~inside).sum()))
        chosen = np.flatnonzero(inside & ~crowd)
        chosen = chosen[np.argsort(owners[chosen], kind="stable")]
        people = [rows[i] for i in chosen]
        keypoints = self._keypoints(people, skeleton.num_keypoints, sizes[owners[chosen]])
        areas = self._areas(people, boxes[chosen])
        ignored_owners, ignored = self._ignored(images, sizes, owners[inside & crowd], cut[inside & crowd])
        return CocoFile(
            skeleton, image_ids, sizes, self._names(images), owners[chosen], cut[chosen].astype(np.float32),
            keypoints, areas, ignored_owners, ignored, dict(self.report),
        )  # fmt: skip

    def _count(self, reason: str, number: int) -> None:
        if number:
            self.report[reason] += number

    def _sections(self) -> dict[str, list[Row]]:
        try:
            with self.file.open("rb") as stream:
                content = json.load(stream, object_hook=_without_masks)
        except OSError as error:
            self.fail(f"can't read the annotation file ({error.strerror}). Check the path.")
        except (ValueError, RecursionError) as error:
            self.fail(f"is not valid json ({error}). Export the annotations again.")
        if not isinstance(content, dict):
            self.fail(
                f"must hold one json object with images, annotations and categories, not a {type(content).__name__}."
            )
        for name in ("images", "annotations", "categories"):
            section = content.get(name)
            if not isinstance(section, list) or not all(isinstance(row, dict) for row in section):
                state = "is missing" if section is None else "is not a list of objects"
                self.fail(f"section '{name}' {state}. A COCO keypoint file needs images, annotations and categories.")
        if not content["images"]:
            self.fail("section 'images' is empty. Give a file that lists at least one image.")
        return content

    def _categories(self, rows: list[Row]) -> tuple[Skeleton, dict[int, bool]]:
        """The one skeleton, and whether each category id has it."""
        ids = self._ids(rows, "categories", "id").tolist()
        posed = [row for row in rows if row.get("keypoints")]
        if not posed:
            self.fail("no category declares keypoints. Add the list of keypoint names as 'keypoints' to the category.")
        for row in posed:
            if not isinstance(row["keypoints"], list):
                self.fail(
                    f"category '{row.get('name')}' has keypoints {row['keypoints']!r:.60}, which is no list of names."
                )
        try:
            skeletons = [Skeleton.from_category(row) for row in posed]
        except (DataError, TypeError, ValueError, OverflowError) as error:
            self.fail(f"category {[row.get('name') for row in posed]}: {error}")
        names = [skeleton.names for skeleton in (*skeletons, *([self.wanted] if self.wanted else []))]
        if len(set(names[: len(skeletons)])) > 1:
            named = ", ".join(f"'{row.get('name')}' ({len(s.names)})" for row, s in zip(posed, skeletons, strict=True))
            self.fail(
                f"its categories have different keypoints: {named}. Keep the category to train in a file of its own."
            )
        if len(set(names)) > 1:
            self.fail(f"declares the keypoints {list(names[0])}, but {list(names[-1])} are needed here.")
        return self.wanted or skeletons[0], {i: bool(row.get("keypoints")) for i, row in zip(ids, rows, strict=True)}

    def _ids(self, rows: Sequence[Row], section: str, key: str, unique: bool = True) -> NDArray[np.int64]:
        values = [row.get(key) for row in rows]
        for number, value in enumerate(values):
            if type(value) is not int or abs(value) >= 2**63:
                self.fail(f"{section}[{number}] has {key} {value!r}. Give it an integer.")
        ids = np.array(values, np.int64)
        if unique and len(np.unique(ids)) < len(ids):
            twice = [value for value, count in Counter(values).items() if count > 1]
            self.fail(f"section '{section}' has {len(twice)} duplicate ids, such as {twice[:3]}. Make them unique.")
        return ids

    def _sizes(self, images: list[Row]) -> NDArray[np.int32]:
        for image in images:
            for key in ("width", "height"):
                if type(image.get(key)) is not int or not 0 < image[key] < 2**31:
                    self.fail(f"image {image['id']} has {key} {image.get(key)!r}. Give it as a whole number of pixels.")
        return np.array([(image["height"], image["width"]) for image in images], np.int32)

    def _names(self, images: list[Row]) -> NDArray[np.str_]:
        for image in images:
            problem = problem_of_name(image.get("file_name"))
            if problem:
                self.fail(f"image {image['id']} has file_name {image.get('file_name')!r}{problem}")
        return np.array([image["file_name"] for image in images])

    def _used(self, rows: list[Row], categories: dict[int, bool]) -> list[Row]:
        """The annotations whose category has keypoints."""
        self._ids(rows, "annotations", "id")
        category_ids = self._ids(rows, "annotations", "category_id", unique=False).tolist()
        for row, category in zip(rows, category_ids, strict=True):
            if category not in categories:
                self.fail(f"annotation {row['id']} has category_id {category}, which is not in section 'categories'.")
        used = [row for row, category in zip(rows, category_ids, strict=True) if categories[category]]
        self._count("annotations not used: category without keypoints", len(rows) - len(used))
        return used

    def _owners(self, rows: list[Row], image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        ids = self._ids(rows, "annotations", "image_id", unique=False)
        order = np.argsort(image_ids)
        owners = order[np.searchsorted(image_ids[order], ids).clip(max=len(order) - 1)]
        dangling = np.flatnonzero(image_ids[owners] != ids)
        if len(dangling):
            row = rows[dangling[0]]
            self.fail(f"annotation {row['id']} has image_id {row['image_id']}, which is not in section 'images'.")
        return np.asarray(owners, np.int64)

    def _numbers(self, rows: list[Row], key: str, length: int, what: str) -> NDArray[np.float64]:
        """(M, length) finite numbers from a list under the key of every row."""
        values = [row.get(key) for row in rows]
        for row, value in zip(rows, values, strict=True):
            if not isinstance(value, list) or len(value) != length:
                got = "missing" if value is None else f"of {len(value)}" if isinstance(value, list) else repr(value)
                self.fail(f"annotation {row['id']} has {key} {got}. Give a list of {length} numbers, {what}.")
            if not all(isinstance(number, (int, float)) for number in value):
                self.fail(f"annotation {row['id']} has something that is no number in {key}: {value!r:.80}.")
        numbers = np.array(values, np.float64).reshape(-1, length)
        broken = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(broken):
            self.fail(f"annotation {rows[broken[0]]['id']} has NaN or infinity in {key}. Correct it or remove it.")
        return numbers

    def _boxes(self, rows: list[Row]) -> NDArray[np.float64]:
        """(M, 4) x1 y1 x2 y2 as annotated."""
        boxes = self._numbers(rows, "bbox", 4, "x y width height")
        flat = np.flatnonzero((boxes[:, 2:] <= 0).any(axis=1))
        if len(flat):
            row = rows[flat[0]]
            self.fail(f"annotation {row['id']} has bbox {row['bbox']} without area. Width and height must be above 0.")
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    def _keypoints(self, rows: list[Row], k: int, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
        """(M, K, 3); zeros for people without keypoints and for joints far outside the image."""
        unlabelled = [0.0] * (3 * k)
        filled = [row if row.get("keypoints") else {**row, "keypoints": unlabelled} for row in rows]
        keypoints = self._numbers(filled, "keypoints", 3 * k, f"x y v for each of {k} keypoints").reshape(-1, k, 3)
        odd = np.flatnonzero(~np.isin(keypoints[..., 2], (0, 1, 2)).all(axis=1))
        if len(odd):
            values = sorted(set(keypoints[odd[0], :, 2]) - {0.0, 1.0, 2.0})
            self.fail(
                f"annotation {rows[odd[0]]['id']} has visibility {values[0]:g}. "
                "Use 0 (unlabelled), 1 (occluded) or 2 (visible)."
            )
        xy, labelled = keypoints[..., :2], keypoints[..., 2] > 0
        limits = sizes[:, None, ::-1] + OUTSIDE_TOLERANCE
        outside = labelled & ((xy < -OUTSIDE_TOLERANCE) | (xy > limits)).any(axis=-1)
        self._count("joints taken as unlabelled: outside the image", int(outside.sum()))
        keypoints[outside | ~labelled] = 0
        return keypoints.astype(np.float32)

    def _areas(self, rows: list[Row], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        filled = [{"id": row["id"], "area": [row.get("area") or 0]} for row in rows]
        areas = self._numbers(filled, "area", 1, "pixels squared")[:, 0]
        if (areas < 0).any():
            row = rows[int(np.argmax(areas < 0))]
            self.fail(f"annotation {row['id']} has area {row['area']}. Give the pixels that the person covers.")
        self._count("areas estimated from the box: none given", int((areas == 0).sum()))
        estimate = AREA_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return np.where(areas == 0, estimate, areas).astype(np.float32)

    def _ignored(
        self, images: list[Row], sizes: NDArray[np.int32], owners: NDArray[np.int64], crowds: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Crowd regions, and the whole of each image with ``complete: false``."""
        partial = np.array([i for i, image in enumerate(images) if image.get("complete", True) is False], np.int64)
        whole = np.concatenate([np.zeros((len(partial), 2)), sizes[partial, ::-1]], axis=1)
        owners = np.concatenate([owners, partial])
        order = np.argsort(owners, kind="stable")
        return owners[order], np.concatenate([crowds, whole])[order].astype(np.float32)


def _without_masks(row: Row) -> Row:
    """Drops what is large and unused while the file is parsed, so that COCO's 240 MB never are in memory at once."""
    row.pop("segmentation", None)
    return row


def _cut(boxes: NDArray[np.float64], sizes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Boxes cut at the border of their images; (M, 4) and (M, 2) height width."""
    limits = np.concatenate([sizes[:, ::-1], sizes[:, ::-1]], axis=1)
    return np.asarray(np.clip(boxes, 0, limits), np.float64)
