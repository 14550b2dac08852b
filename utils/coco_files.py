"""COCO annotation and results files as the evaluation reads them: checked, and reduced to what it needs."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import DataError, OutputError
from utils.output import write_json
from utils.skeleton import Skeleton

Row = dict[str, Any]

AREA_OF_BOX = 0.53
"""Median area / box area over COCO's people with keypoints; used where an annotation has no area."""

LARGEST = 1e15
"""Beyond it, a number is no coordinate or area; NaN isn't below it either."""


@dataclass(frozen=True)
class GroundTruth:
    """What the evaluation reads of an annotation file.

    Attributes:
        images: ids of all images.
        people: annotations of the skeleton's categories: ``id`` (from 1 on: COCO's code takes a match with id 0 for
            none), ``image_id``, ``keypoints``, ``num_keypoints``, ``bbox``, ``area``, ``iscrowd``.
        category: the id that people and results are evaluated under.
        merged: ids of all categories with the skeleton's keypoints; they count as one, as in training.
        declared: ids of all categories.
    """

    images: list[int]
    people: list[Row]
    category: int
    merged: frozenset[int]
    declared: frozenset[int]

    def coco(self) -> Row:
        """A COCO dict of its own: COCO's tools add keys to the entries, but leave their lists alone."""
        return {
            "images": [{"id": image_id} for image_id in self.images],
            "annotations": [{**person, "category_id": self.category} for person in self.people],
            "categories": [{"id": self.category, "name": "person"}],
        }


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON; ``what`` names it in the message.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"Can't read the {what} {path}: {error.strerror or error}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"The {what} {path} is not valid JSON ({error}). Write it again.") from None


def with_images(content: Row, ids: Container[int]) -> Row:
    """COCO content with some of its images, in their order, and everybody in these."""
    images = [image for image in content["images"] if image["id"] in ids]
    people = [row for row in content["annotations"] if row["image_id"] in ids]
    return {**content, "images": images, "annotations": people}


def write_annotations(path: Path, content: Row) -> None:
    """Writes COCO content, whole or not at all.

    Raises:
        OutputError: it can't be written, or json can't hold its numbers.
    """
    try:
        write_json(path, content)
    except ValueError:
        raise OutputError(f"Can't write {path}: the annotations hold NaN or infinity. Mend these first.") from None


def load_ground_truth(source: Path | Row, skeleton: Skeleton, *, labelled: bool = True) -> GroundTruth:
    """Reads annotations of the skeleton's keypoints and fills in defaults.

    A missing or zero ``area`` becomes `AREA_OF_BOX` of the box, a missing ``num_keypoints`` the number with v > 0.

    Args:
        source: an annotation file or its content.
        skeleton: whose keypoints are evaluated.
        labelled: whether somebody has to be labelled; not where pictures are only looked at.

    Raises:
        DataError: missing sections, other keypoints, entries that don't fit, or no labelled person.
    """
    content = source if isinstance(source, dict) else read_json(Path(source), "annotation file")
    name = "The ground truth" if isinstance(source, dict) else f"The annotation file {source}"
    _check_sections(content, name)
    merged = [_whole(row, "id", f"{name}: category") for row in content["categories"] if _fits(row, skeleton)]
    if not merged:
        _no_category(content["categories"], skeleton, name)
    images = [_whole(image, "id", f"{name}: image {i}") for i, image in enumerate(content["images"])]
    chosen = [row for row in content["annotations"] if row.get("category_id") in merged]
    known = set(images)
    people = [_person(row, i + 1, known, skeleton.num_keypoints, name) for i, row in enumerate(chosen)]
    if labelled and not any(is_labelled(person) for person in people):
        raise DataError(f"{name} has no '{skeleton.category}' with labelled keypoints: there is nothing to evaluate.")
    declared = frozenset(_whole(row, "id", f"{name}: category") for row in content["categories"])
    return GroundTruth(images, people, merged[0], frozenset(merged), declared)


def read_skeleton(content: Any, name: str) -> Skeleton:
    """The one skeleton that an annotation file declares.

    Raises:
        DataError: it declares none, or several.
    """
    _check_sections(content, name)
    declared = [row for row in content["categories"] if row.get("keypoints")]
    if not declared or any(row["keypoints"] != declared[0]["keypoints"] for row in declared):
        names = [row.get("name") for row in declared]
        raise DataError(f"{name} must declare the keypoints of one skeleton, but those with keypoints are {names}.")
    try:
        return Skeleton.from_category(declared[0])
    except (DataError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name}: its category '{declared[0].get('name')}' can't be used: {error}") from None


def load_skeleton(path: Path) -> Skeleton:
    """That of an annotation file.

    Raises:
        DataError: it can't be read, or doesn't declare one skeleton.
    """
    return read_skeleton(read_json(path, "annotation file"), f"The annotation file {path}")


def _check_sections(content: Any, name: str) -> None:
    for section in ("images", "annotations", "categories"):
        rows = content.get(section) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{name} has no list of objects '{section}'. It must be a COCO keypoint file.")


def _fits(category: Row, skeleton: Skeleton) -> bool:
    return category.get("keypoints") == list(skeleton.names)


def _no_category(categories: list[Row], skeleton: Skeleton, name: str) -> NoReturn:
    declared = [row["keypoints"] for row in categories if row.get("keypoints")]
    raise DataError(
        f"{name} declares {declared or 'no keypoints'}, but the predictions have the "
        f"{skeleton.num_keypoints} keypoints {list(skeleton.names)}. Use annotations of the same skeleton."
    )


def _person(row: Row, number: int, known: set[int], k: int, name: str) -> Row:
    where = f"{name}: annotation {row.get('id', number)}"
    image_id = _whole(row, "image_id", where)
    if image_id not in known:
        raise DataError(f"{where} belongs to image {image_id}, which is not among its images.")
    keypoints = finite_numbers(row.get("keypoints") or [0.0] * (3 * k), 3 * k)
    box = finite_numbers(row.get("bbox"), 4)
    if keypoints is None or box is None:
        what = "'bbox' of 4" if box is None else f"'keypoints' of {3 * k}"
        raise DataError(f"{where} needs {what} finite numbers.")
    stated = row.get("num_keypoints")
    area = finite_numbers([row.get("area") or AREA_OF_BOX * box[2] * box[3]], 1)
    if area is None or area[0] < 0:
        raise DataError(f"{where} has the area {row.get('area')!r}. Give the pixels that the person covers.")
    return {
        "id": number,
        "image_id": image_id,
        "keypoints": keypoints,
        "num_keypoints": stated if type(stated) is int else sum(v > 0 for v in keypoints[2::3]),
        "bbox": box,
        "area": area[0],
        "iscrowd": int(bool(row.get("iscrowd"))),
    }


def check_results(results: Any, truth: GroundTruth, skeleton: Skeleton) -> list[Row]:
    """The rows of the evaluated categories, with only what the evaluation reads, ordered by image.

    Within an image the order stays, so that files written by one or by many processes give one figure.

    Raises:
        DataError: not COCO keypoint results, or of images or categories that the annotations don't have. A
            coordinate that is not finite is an error too: COCO's code would count it as a perfect match.
    """
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise DataError(
            "The results are not a list of COCO keypoint results (image_id, category_id, keypoints, score)."
        )
    known = frozenset(truth.images)
    rows = [
        _result(row, f"Result {i}", known, skeleton.num_keypoints) | {"category_id": truth.category}
        for i, row in enumerate(results)
        if _is_evaluated(row, f"Result {i}", truth)
    ]
    boxed = sum("bbox" in row for row in rows)
    if boxed not in (0, len(rows)):
        raise DataError(f"{boxed} of {len(rows)} results have a 'bbox'. Give it to all or to none.")
    return sorted(rows, key=lambda row: int(row["image_id"]))


def _is_evaluated(row: Row, where: str, truth: GroundTruth) -> bool:
    category = _whole(row, "category_id", where)
    if category not in truth.declared:
        raise DataError(f"{where} has category {category}, but the annotations have {sorted(truth.declared)}.")
    return category in truth.merged


def _result(row: Row, where: str, known: frozenset[int], k: int) -> Row:
    image_id = _whole(row, "image_id", where)
    if image_id not in known:
        raise DataError(f"{where} is of image {image_id}, which the annotations don't have. Use the matching file.")
    given = row.get("keypoints")
    keypoints = finite_numbers(given, 3 * k)
    if keypoints is None:
        got = f"{len(given)} values" if isinstance(given, list) else repr(given)
        raise DataError(f"{where} needs 'keypoints' of {3 * k} finite numbers ({k} keypoints), but got {got}.")
    score = finite_numbers([row.get("score")], 1)
    if score is None:
        raise DataError(f"{where} needs a finite 'score', but got {row.get('score')!r}.")
    box = finite_numbers(row.get("bbox"), 4)
    if "bbox" in row and box is None:
        raise DataError(f"{where} needs a 'bbox' of 4 finite numbers, but got {row['bbox']!r}.")
    checked: Row = {"image_id": image_id, "keypoints": keypoints, "score": score[0]}
    return checked if box is None else {**checked, "bbox": box}


def is_labelled(person: Mapping[str, Any]) -> bool:
    """Whether the person counts for recall: no crowd, and with labelled keypoints."""
    return bool(person["num_keypoints"] > 0 and not person["iscrowd"])


def _whole(row: Row, key: str, where: str) -> int:
    value = row.get(key)
    if type(value) is not int:
        raise DataError(f"{where} needs a whole number as {key!r}, but got {value!r}.")
    return value


def finite_numbers(values: Any, count: int) -> list[float] | None:
    """The values as floats; None unless they are ``count`` finite numbers, none so large that its square overflows."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    if not all(isinstance(value, int | float) and abs(value) < LARGEST for value in values):
        return None
    return [float(value) for value in values]
