"""A model's results on the images of an annotation file, for the checks that ask a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sia.coco.annotation_file import AnnotationFile, Row
from sia.coco.coco_files import GroundTruth, check_results, read_json
from sia.errors import DataError
from sia.people import People


def read_predictions(file: Path, data: AnnotationFile) -> Mapping[int, People]:
    """People by index of the image, best score first.

    Raises:
        DataError: the file is not one of COCO keypoint results with boxes of these images and keypoints, or the
            annotations' own skeleton is faulty.
    """
    if data.skeleton is None:
        raise DataError(f"{data.path}: --results needs a category with usable keypoints. Correct it first.")
    truth = GroundTruth(list(data.images), [], min(data.merged), frozenset(data.merged), frozenset(data.declared))
    rows = check_results(read_json(file, "results file"), truth, data.skeleton)
    if not all("bbox" in row for row in rows):
        raise DataError(f"{file}: the results have no 'bbox'. Use those of scripts/evaluate.py.")
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(data.images[row["image_id"]], []).append(row)
    return {image: _people(group) for image, group in groups.items()}


def _people(rows: list[Row]) -> People:
    rows = sorted(rows, key=lambda row: -row["score"])
    boxes = np.array([row["bbox"] for row in rows], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    points = np.array([row["keypoints"] for row in rows], np.float32).reshape(len(rows), -1, 3)
    scores = np.array([row["score"] for row in rows], np.float32)
    return People(boxes, scores, points[..., :2], points[..., 2])
