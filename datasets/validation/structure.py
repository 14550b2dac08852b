"""The faults of an annotation file, and what was taken for right in it, as findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.validation.annotations import Annotations, Person
from datasets.validation.issue import Issue
from sia.coco.annotation_file import AnnotationFile, Remark
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import read_json
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, INFERRED, Skeleton


def read_annotations(file: Path) -> tuple[Annotations | None, list[Issue]]:
    """What can be understood of a file, and what its reader says about it.

    Returns:
        None in place of the annotations where nothing can be looked at: no JSON, or a section is missing.
    """
    try:
        parsed = parse(read_json(file, "annotation file"))
    except DataError as error:
        return None, [Issue("json", str(error))]
    issues = [_finding(parsed, remark) for remark in (*parsed.faults, *parsed.taken)]
    if any(issue.check == "sections" for issue in issues):
        return None, issues
    people = [
        Person(
            person.row,
            person.image,
            np.array(person.box),
            np.array(person.joints, np.float64).reshape(-1, 3) if person.joints else None,
            person.area,
            person.crowd,
        )
        for person in parsed.people
    ]
    if parsed.skeleton is not None:
        issues += _skeleton(parsed.skeleton, parsed)
    return Annotations(file, parsed, people), issues


def _finding(parsed: AnnotationFile, remark: Remark) -> Issue:
    image = remark.image
    if image is None and remark.row is not None:
        key = parsed.content["annotations"][remark.row].get("image_id")
        image = parsed.images.get(key) if type(key) is int else None
    return Issue(remark.check, f"{parsed.place(remark)}{remark.message}", image, remark.row, remark.joints)


def _skeleton(skeleton: Skeleton, parsed: AnnotationFile) -> Iterator[Issue]:
    """The order of COCO's names, and what isn't declared."""
    coco = COCO_PERSON.names
    if skeleton.names != coco and set(skeleton.names) == set(coco):
        first = next(i for i, pair in enumerate(zip(skeleton.names, coco, strict=True)) if pair[0] != pair[1])
        place = f"Keypoint {first + 1} is '{skeleton.names[first]}', but COCO's is '{coco[first]}'."
        yield Issue("skeleton-order", place)
    if not skeleton.mirrors:
        yield Issue("flips-unknown", f"Mirror images are {skeleton.describe_flips()}.")
    elif skeleton.flips == INFERRED and set(skeleton.names) != set(coco):
        yield Issue("flips-inferred", f"The {skeleton.describe_flips()}.")
    category = next(row for row in parsed.content["categories"] if row.get("id") == parsed.merged[0])
    if text := skeleton.describe_sigmas(category):
        yield Issue("sigmas-inferred", f"The {text}.")
