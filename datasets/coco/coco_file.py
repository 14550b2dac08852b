"""Reads a COCO keypoint json into arrays. Every fault is one `DataError` that says what, which and how to fix it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import OUTSIDE_TOLERANCE, AnnotationFile, Person, Row
from sia.coco.annotation_parser import parse
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
        skeleton: of the categories that have keypoints.
        image_ids: (N,) int64.
        sizes: (N, 2) int32, height and width.
        names: (N,) str, paths relative to the image root.
        owners: (M,) int64, index of the image of each person.
        boxes: (M, 4) float32, x1 y1 x2 y2, cut at the image border.
        keypoints: (M, K, 3) float32 x, y, v; v is between 0 and 1 where the label is trusted so far only, and 0 for
            keypoints of other categories.
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
    several = skeleton if skeleton is not None and skeleton.categories else None  # their order is that of the skeleton
    parsed = parse(read_json(file, "annotation file", _without_masks), several)
    parsed.refuse_faults(str(file), () if labelled else ("nobody",))
    declared = parsed.skeleton
    if skeleton is not None and (declared is None or (several is None and declared.names != skeleton.names)):
        names = [name for row in parsed.content["categories"] for name in row.get("keypoints") or []]
        names = names if declared is None else list(declared.names)
        raise DataError(f"{file}: declares the keypoints {names}, but {list(skeleton.names)} are needed here.")
    assert declared is not None  # or there was a fault
    return _arrays(parsed, skeleton or declared)


def _without_masks(row: Row) -> Row:
    """Drops what is large and unused while the file is parsed, so that COCO's 240 MB never are in memory at once."""
    row.pop("segmentation", None)
    return row


def _arrays(parsed: AnnotationFile, skeleton: Skeleton) -> CocoFile:
    images, people, posed = parsed.content["images"], parsed.people, set(parsed.merged)
    sizes = np.array([size[::-1] for size in parsed.sizes if size is not None], np.int32).reshape(-1, 2)
    owners = np.array([person.image for person in people], np.int64)
    order = np.argsort(owners, kind="stable")
    people, owners = [people[i] for i in order], owners[order]
    crowd = np.array([person.crowd for person in people], bool)
    boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.clip(0, np.tile(sizes[owners, ::-1], 2))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    used = inside & ~crowd
    partial = np.array([i for i, image in enumerate(images) if image.get("complete") is False], np.int64)
    ignored_owners = np.concatenate([owners[inside & crowd], partial])
    whole = np.concatenate([np.zeros((len(partial), 2)), sizes[partial, ::-1]], axis=1)
    ignored = np.concatenate([boxes[inside & crowd], whole])
    order = np.argsort(ignored_owners, kind="stable")
    joints, blocks = np.zeros((len(people), skeleton.num_keypoints, 3)), skeleton.blocks
    for row, person in enumerate(people):
        joints[row, blocks[person.block]] = _trusted(person)
    keypoints = joints[used]
    outside = _clear_joints(keypoints, sizes[owners[used]])
    parts = zip(skeleton.parts, parsed.parts, strict=True)
    report = Counter(TAKEN[issue.check] for issue in parsed.taken)
    report["annotations not used: category without keypoints"] = sum(
        row["category_id"] not in posed for row in parsed.content["annotations"]
    )
    report["annotations not used: box wholly outside the image"] = int((~inside).sum())
    report["joints taken as unlabelled: outside the image"] = outside
    return CocoFile(
        skeleton=skeleton,
        image_ids=np.array([image["id"] for image in images], np.int64),
        sizes=sizes,
        names=np.array([image["file_name"] for image in images]),
        owners=owners[used],
        boxes=boxes[used].astype(np.float32),
        keypoints=keypoints.astype(np.float32),
        areas=np.array([person.area for person in people], np.float32)[used],
        ignored_owners=ignored_owners[order],
        ignored=ignored[order].astype(np.float32),
        report=dict(+report),
        notes=tuple(filter(None, (part.describe_sigmas(file.category()) for part, file in parts))),
    )


def _trusted(person: Person) -> NDArray[np.float64]:
    """(K, 3) joints with confidences below 1 in the place of v, where they are labelled: one of 0 is unlabelled."""
    joints = person.joints
    if person.confidences is not None:
        confidences = np.array(person.confidences)
        unsure = (confidences < 1) & (joints[:, 2] > 0)
        joints[unsure, 2] = confidences[unsure]
    return joints


def _clear_joints(keypoints: NDArray[np.float64], sizes: NDArray[np.int32]) -> int:
    """Sets (M, K, 3) joints that are unlabelled or far outside images of height, width to 0; how many are outside."""
    xy, labelled = keypoints[..., :2], keypoints[..., 2] > 0
    limits = sizes[:, None, ::-1] + OUTSIDE_TOLERANCE
    outside = labelled & ((xy < -OUTSIDE_TOLERANCE) | (xy > limits)).any(axis=-1)
    keypoints[outside | ~labelled] = 0
    return int(outside.sum())
