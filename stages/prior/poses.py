"""The poses that the prior learns from: labels of the fit part, and a file of more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sia.coco.annotation_values import LARGEST
from sia.coco.coco_files import load_ground_truth
from sia.errors import DataError
from sia.evaluation.labels import LabelledPeople, labelled_people, people_from
from sia.io.npz_file import Wanted, read_npz
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

FEWEST_KEYPOINTS = 5
"""Labelled keypoints below which a pose teaches nothing about how keypoints hang together."""

_ARRAYS = {
    "image_id": Wanted("iu", ("P",)),
    "keypoint_names": Wanted("U", ("K",)),
    "bbox": Wanted("fiu", ("P", 4)),
    "keypoints": Wanted("fiu", ("P", "K", 3)),
}


def training_poses(fit: Path, extra: Path | None, skeleton: Skeleton) -> LabelledPeople:
    """People with at least `FEWEST_KEYPOINTS` labelled keypoints.

    Args:
        fit: COCO annotations of the fit part.
        extra: more poses: COCO keypoint annotations (.json), or an archive (.npz) of ``image_id`` (P,), ``bbox`` (P, 4)
            x, y, width, height, ``keypoints`` (P, K, 3) x, y, v and ``keypoint_names`` (K,).
        skeleton: what the keypoints have to be.

    Raises:
        DataError: a file is missing or broken, or has other keypoints.
    """
    sets = [labelled_people(load_ground_truth(fit, skeleton))]
    if extra is not None:
        sets.append(read_poses(extra, skeleton))
    people = LabelledPeople(
        *(np.concatenate(parts) for parts in zip(*(vars(group).values() for group in sets), strict=True))
    )
    return people.select(people.labelled.sum(1) >= FEWEST_KEYPOINTS)


def read_poses(path: Path, skeleton: Skeleton) -> LabelledPeople:
    """A file of poses without images; see `training_poses`.

    Raises:
        DataError: it is missing or broken, or has other keypoints.
    """
    if path.suffix.lower() != ".npz":
        return labelled_people(load_ground_truth(path, skeleton))
    hint = f"It must be COCO annotations (.json), or an .npz of {', '.join(_ARRAYS)}."
    arrays = read_npz(path, _ARRAYS, "-PRIOR_POSES file", hint)
    names = tuple(arrays["keypoint_names"].tolist())
    if names != skeleton.names:
        raise DataError(f"{path} has the keypoints {list(names)}, but the annotations {list(skeleton.names)}.")
    boxes, triples = (arrays[name].astype(np.float64) for name in ("bbox", "keypoints"))
    sides = boxes[:, 2:]
    whole = (abs(boxes) < LARGEST).all(1) & (abs(triples) < LARGEST).all((1, 2)) & (sides > 0).all(1)
    areas = AREA_OF_BOX * sides.prod(1)
    return people_from(arrays["image_id"].astype(np.int64)[whole], boxes[whole], areas[whole], triples[whole])
