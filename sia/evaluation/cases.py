"""People to look at: right and wrong ones of every kind in turn, each with the part of the image around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import cv2
import numpy as np

from sia.coco.annotated_images import AnnotatedImages
from sia.drawing.crop import Crop, crop_around
from sia.drawing.html_page import data_uri
from sia.evaluation.error_kinds import KINDS, OUTCOMES, ErrorAnalysis
from sia.evaluation.keypoint_scores import MATCH_OKS
from sia.evaluation.predictions import Array

SIDE, QUALITY = 300, 80
"""Pixels of a crop's longer side, and its JPEG quality."""
GROUPS = ("right", "wrong pose", *OUTCOMES[1:3], "missed")
"""Found with an OKS of 0.5, found by the box alone, predictions that are nobody, and people without a prediction."""


class Case(NamedTuple):
    """A prediction, a labelled person, or both.

    Attributes:
        group: one of `GROUPS`.
        row: in the predictions; -1 where a person is missed.
        label: in the labelled people; -1 where nobody is there.
    """

    group: str
    row: int
    label: int


def find_cases(errors: ErrorAnalysis) -> list[list[Case]]:
    """Everybody, a list a group of people or a kind of keypoint error, what is most telling first."""
    found = errors.found
    everyone = [
        Case(GROUPS[0] if errors.oks[i] >= MATCH_OKS else GROUPS[1], i, int(found[i]))
        for i in np.flatnonzero(found >= 0).tolist()
    ]
    others = [Case(OUTCOMES[errors.outcomes[i]], i, -1) for i in np.flatnonzero(found < 0).tolist()]
    largest = sorted(np.flatnonzero(errors.missed).tolist(), key=lambda label: -errors.labels.areas[label])
    groups = [[case for case in [*everyone, *others] if case.group == group] for group in GROUPS[:4]]
    counts = [(errors.kinds == kind).sum(1) for kind in range(1, len(KINDS))]
    kinds = [sorted((case for case in everyone if n[case.row]), key=lambda case: -n[case.row]) for n in counts]
    return [*groups, [Case(GROUPS[4], -1, label) for label in largest], *kinds]


def choose_cases(groups: Sequence[Sequence[Case]], most: int) -> list[Case]:
    """In turn one of each group."""
    in_turn = [case for turn in zip_longest(*groups) for case in turn if case is not None]
    return list(dict.fromkeys(in_turn))[:most]


def describe_cases(
    errors: ErrorAnalysis, cases: Sequence[Case], images: AnnotatedImages | None
) -> list[dict[str, Any]]:
    """For the page, in plain types; coordinates are those of the crop.

    Args:
        errors: of the data set.
        cases: who is shown.
        images: of the annotations; without them there are no crops.

    Raises:
        DataError: an image can't be read.
    """
    index = {row["id"]: place for place, row in enumerate(errors.truth.rows)}
    described: dict[Case, dict[str, Any]] = {}
    last, pixels = -1, np.zeros((0, 0, 3), np.uint8)
    for case in sorted(cases, key=lambda case: _image_id(errors, case)):  # each image is read once
        image_id = _image_id(errors, case)
        if images is not None and image_id != last:
            last, pixels = image_id, images.read_image(index[image_id])
        name = errors.truth.rows[index[image_id]].get("file_name")
        described[case] = {"file": str(name or image_id), "image_id": image_id, **_describe(errors, case, pixels)}
    return [described[case] for case in cases]


def _image_id(errors: ErrorAnalysis, case: Case) -> int:
    return int(errors.labels.image_ids[case.label] if case.row < 0 else errors.people.image_ids[case.row])


def _describe(errors: ErrorAnalysis, case: Case, pixels: Any) -> dict[str, Any]:
    people, labels = errors.people, errors.labels
    both = ((people, case.row), (labels, case.label))
    boxes = [group.boxes[row] for group, row in both if row >= 0]
    if pixels.size:
        crop = crop_around(pixels, np.array(boxes), SIDE)
    else:  # an empty sheet with the same frame
        low, high = np.array(boxes)[:, :2].min(0), np.array(boxes)[:, 2:].max(0)
        scale = SIDE / max(1.0, float((high - low).max()))
        shape = np.maximum(1, ((high - low) * scale).astype(int))
        crop = Crop(np.zeros((shape[1], shape[0], 3), np.uint8), low.astype(np.int64), scale)
    height, width = crop.pixels.shape[:2]
    row: dict[str, Any] = {"group": case.group, "size": round(float((boxes[-1][2:] - boxes[-1][:2]).max()))}
    row |= {"width": width, "height": height, "src": _encode(crop.pixels) if pixels.size else None}
    if case.row >= 0:
        row |= {"score": round(float(people.scores[case.row]), 4), "kinds": errors.kinds[case.row].tolist()}
        row["points"] = _points(crop, people.keypoints[case.row], people.confidences[case.row])
    if case.label >= 0:
        row["label"] = _points(crop, labels.keypoints[case.label], labels.labelled[case.label])
        row["oks"] = round(float(errors.oks[case.row]), 4) if case.row >= 0 else None
    return row


def _points(crop: Crop, points: Array, weights: Any) -> list[list[float]]:
    return np.concatenate([crop.place(points), weights[:, None]], axis=1).round(2).tolist()  # type: ignore[no-any-return]


def _encode(pixels: Any) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data_uri(encoded.tobytes(), "image/jpeg")
