"""The poses that the prior learns from: labels of the fit part, and a file of more."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.pose_labels import LabelledPeople, Rows, labelled_people, people_from
from utils.coco_files import AREA_OF_BOX, load_ground_truth
from utils.errors import DataError
from utils.predictions import Array
from utils.skeleton import Skeleton

FEWEST_KEYPOINTS = 5
"""Labelled keypoints below which a pose teaches nothing about how keypoints hang together."""

_ARRAYS = ("image_id", "bbox", "keypoints", "keypoint_names")


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
    """A file of poses without pictures; see `training_poses`.

    Raises:
        DataError: it is missing or broken, or has other keypoints.
    """
    if path.suffix.lower() != ".npz":
        return labelled_people(load_ground_truth(path, skeleton))
    image_ids, boxes, triples, names = _read_archive(path)
    if tuple(names.tolist()) != skeleton.names:
        raise DataError(f"{path} has the keypoints {names.tolist()}, but the annotations {list(skeleton.names)}.")
    sides = boxes[:, 2:]
    whole = np.isfinite(boxes).all(1) & np.isfinite(triples).all((1, 2)) & (sides > 0).all(1)
    areas = AREA_OF_BOX * sides.prod(1)
    return people_from(image_ids[whole], boxes[whole], areas[whole], triples[whole])


def _read_archive(path: Path) -> tuple[Rows, Array, Array, NDArray[np.str_]]:
    hint = f"It must be COCO annotations (.json), or an .npz of {', '.join(_ARRAYS)}."
    try:
        with np.load(path, allow_pickle=False) as content:
            ids, boxes, triples, names = (content[name] for name in _ARRAYS)
        people = len(ids)
        if boxes.shape != (people, 4) or triples.shape != (people, len(names), 3):
            raise ValueError(f"shapes {boxes.shape} and {triples.shape} for {people} people")
        return ids.astype(np.int64), boxes.astype(np.float64), triples.astype(np.float64), names.astype(str)
    except OSError as error:
        raise DataError(f"-PRIOR_POSES {path} can't be read: {error.strerror or error}. {hint}") from None
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"-PRIOR_POSES {path} can't be used ({error}). {hint}") from None
