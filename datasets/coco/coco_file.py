"""Reads a COCO keypoint json into arrays. Every fault is one `DataError` that says what, which and how to mend it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import AnnotationFile, Person, Row
from sia.coco.annotation_parser import parse
from sia.coco.annotation_people import OUTSIDE_TOLERANCE
from sia.coco.coco_files import read_json
from sia.errors import DataError
from sia.skeletons.skeleton import Skeleton

TAKEN = {
    "annotation-id": "annotations without an id",
    "annotation-id-twice": "annotations with the id of another",
    "area-missing": "areas estimated from the box: none given",
    "bbox-corners": "boxes seem to be x1 y1 x2 y2: taken as x y width height; look at them",
    "bbox-empty": "boxes made from the joints: without area",
    "bbox-missing": "boxes made from the joints: none given",
    "bbox-rotated": "boxes that were turned, taken as they stand (attributes.rotation): look at them",
    "keypoint-names": "names of keypoints written as numbers",
    "num-keypoints": "num_keypoints counted: wrong",
    "person-empty": "annotations not used: neither box nor labelled joint",
    "skeleton-base": "skeleton lines not written as pairs from 1 on",
    "units-percent": "coordinates seem to be percent: taken as pixels; look at them",
    "written-otherwise": "numbers and flags written as text or as another type",
}
"""What is said at the start of a training about what the parser took for right."""


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
        notes: what was assumed for the file as a whole.
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
    notes: tuple[str, ...]


def read_coco_file(file: Path, skeleton: Skeleton | None = None, *, labelled: bool = True) -> CocoFile:
    """Reads the file, checks all of it, and keeps what training and evaluation need.

    Args:
        file: COCO keypoint annotations, https://cocodataset.org/#format-data.
        skeleton: if given, the file must declare the same keypoints, and this skeleton's sigmas and pairs are used.
        labelled: whether somebody has to be labelled; not where images are only looked at.

    Raises:
        DataError: the first fault found.
    """
    parsed = parse(read_json(file, "annotation file", _without_masks))
    parsed.refuse_faults(str(file), () if labelled else ("nobody",))
    declared = parsed.skeleton
    assert declared is not None
    if skeleton is not None and declared.names != skeleton.names:
        raise DataError(
            f"{file}: declares the keypoints {list(declared.names)}, but {list(skeleton.names)} are needed here."
        )
    return _Arrays(parsed, skeleton or declared).make()


class _Arrays:
    """Makes the arrays, and counts what is not used."""

    def __init__(self, parsed: AnnotationFile, skeleton: Skeleton) -> None:
        self.parsed, self.skeleton = parsed, skeleton
        self.report = Counter({TAKEN[check]: count for check, count in parsed.counts().items()})

    def make(self) -> CocoFile:
        images, people = self.parsed.content["images"], self.parsed.people
        posed = set(self.parsed.merged)
        used = sum(row["category_id"] in posed for row in self.parsed.content["annotations"])
        others = len(self.parsed.content["annotations"]) - used
        self._count("annotations not used: category without keypoints", others)
        sizes = np.array([size[::-1] for size in self.parsed.sizes if size is not None], np.int32).reshape(-1, 2)
        boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        owners = np.array([person.image for person in people], np.int64)
        crowd = np.array([person.crowd for person in people], bool)
        cut = _cut(boxes, sizes[owners])
        inside = (cut[:, 2:] > cut[:, :2]).all(axis=1)
        self._count("annotations not used: box wholly outside the image", int((~inside).sum()))
        chosen = np.flatnonzero(inside & ~crowd)
        chosen = chosen[np.argsort(owners[chosen], kind="stable")]
        keypoints = self._keypoints([people[i] for i in chosen], sizes[owners[chosen]])
        areas = np.array([people[i].area for i in chosen], np.float32)
        ignored_owners, ignored = _ignored(images, sizes, owners[inside & crowd], cut[inside & crowd])
        return CocoFile(
            self.skeleton, np.array([image["id"] for image in images], np.int64), sizes,
            np.array([image["file_name"] for image in images]), owners[chosen], cut[chosen].astype(np.float32),
            keypoints, areas, ignored_owners, ignored, dict(self.report), self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        rows = self.parsed.content["categories"]
        category = next(row for row in rows if row["id"] == self.parsed.merged[0])
        return tuple(filter(None, [self.skeleton.describe_sigmas(category)]))

    def _count(self, reason: str, number: int) -> None:
        if number:
            self.report[reason] += number

    def _keypoints(self, people: list[Person], sizes: NDArray[np.int32]) -> NDArray[np.float32]:
        """(M, K, 3); zeros for people without keypoints and for joints far outside the image."""
        k = self.skeleton.num_keypoints
        unlabelled = [0.0] * (3 * k)
        rows = [person.joints or unlabelled for person in people]
        keypoints = np.array(rows, np.float64).reshape(-1, k, 3)
        xy, labelled = keypoints[..., :2], keypoints[..., 2] > 0
        limits = sizes[:, None, ::-1] + OUTSIDE_TOLERANCE
        outside = labelled & ((xy < -OUTSIDE_TOLERANCE) | (xy > limits)).any(axis=-1)
        self._count("joints taken as unlabelled: outside the image", int(outside.sum()))
        keypoints[outside | ~labelled] = 0
        return keypoints.astype(np.float32)


def _ignored(
    images: list[Row], sizes: NDArray[np.int32], owners: NDArray[np.int64], crowds: NDArray[np.float64]
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
