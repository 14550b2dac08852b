"""People as a table with a row a person, which csv and parquet hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from sia.formats.writer import Record
from sia.people import People

Columns = dict[str, Any]
"""Arrays of the same length by name."""


def person_columns(people: People) -> Columns:
    """``id`` with tracking (0: seen once), ``score``, ``x1`` to ``y2``, ``NAME_x``, ``NAME_y``, ``NAME_confidence``.

    And ``NAME_visibility`` and ``NAME_sigma``, where the weights tell them. Of several categories also ``category``;
    keypoints of the others are NaN.
    """
    skeleton, own = people.skeleton, people.skeleton.own(people.confidences)
    columns: Columns = {} if people.ids is None else {"id": people.ids}
    columns |= {"score": people.scores, **dict(zip(("x1", "y1", "x2", "y2"), people.boxes.T, strict=True))}
    columns |= {"category": np.array(people.class_names, object)} if skeleton.categories else {}
    for k, name in enumerate(skeleton.names):
        told = {"x": people.keypoints[:, k, 0], "y": people.keypoints[:, k, 1], "confidence": people.confidences[:, k]}
        if people.visibilities is not None and people.sigmas is not None:
            told |= {"visibility": people.visibilities[:, k], "sigma": people.sigmas[:, k]}
        columns |= {f"{name}_{what}": np.where(own[:, k], values, np.float32("nan")) for what, values in told.items()}
    return columns


def record_columns(record: Record) -> Columns:
    """``image_id`` and ``file_name``, or ``frame`` and ``time``, before those of each person."""
    people = record.people
    count = len(people)
    if people.frame is None:
        place: Columns = {"image_id": np.full(count, record.image_id), "file_name": np.full(count, record.name, object)}
    else:
        place = {"frame": np.full(count, people.frame), "time": np.full(count, people.time, np.float64)}
    columns = {**place, **person_columns(people)}
    if people.ids is not None:
        columns["interpolated"] = np.array(record.interpolated or [False] * count, bool)
    return columns
